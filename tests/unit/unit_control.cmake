# SPDX-License-Identifier: Apache-2.0
weft_test(unit_control LABEL unit SOURCES unit_control.cpp DEPENDS weft_control weft_api)
