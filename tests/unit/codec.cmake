# SPDX-License-Identifier: Apache-2.0
weft_test(unit_codec LABEL unit SOURCES unit_codec.cpp DEPENDS weft_core_codec)
