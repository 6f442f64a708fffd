# SPDX-License-Identifier: Apache-2.0
weft_test(unit_cli LABEL unit SOURCES unit_cli.cpp DEPENDS weft_control weft_api)
add_dependencies(unit_cli weft)
