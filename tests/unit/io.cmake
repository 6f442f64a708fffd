# SPDX-License-Identifier: Apache-2.0
weft_test(unit_io LABEL unit TIMEOUT 60 SOURCES unit_io_loop.cpp DEPENDS weft_io)
