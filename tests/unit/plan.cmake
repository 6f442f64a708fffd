# SPDX-License-Identifier: Apache-2.0
weft_test(unit_plan LABEL unit SOURCES unit_plan.cpp DEPENDS weft_core_plan)
