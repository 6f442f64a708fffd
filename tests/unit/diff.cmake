# SPDX-License-Identifier: Apache-2.0
weft_test(unit_diff LABEL unit SOURCES unit_diff.cpp DEPENDS weft_core_diff rapidcheck)
