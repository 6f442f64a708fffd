# SPDX-License-Identifier: Apache-2.0
weft_test(unit_ipam LABEL unit SOURCES unit_ipam.cpp DEPENDS weft_core_ipam rapidcheck)
