# SPDX-License-Identifier: Apache-2.0
weft_test(unit_lb LABEL unit SOURCES unit_lb.cpp DEPENDS weft_core_lb rapidcheck)
