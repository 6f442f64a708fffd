# SPDX-License-Identifier: Apache-2.0
weft_test(unit_node LABEL unit SOURCES unit_node.cpp DEPENDS weft_node)
