# SPDX-License-Identifier: Apache-2.0
weft_test(unit_store LABEL unit SOURCES unit_store.cpp DEPENDS weft_store)
