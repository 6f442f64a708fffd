# SPDX-License-Identifier: Apache-2.0
weft_test(unit_io LABEL unit TIMEOUT 60
          SOURCES unit_io_loop.cpp unit_io_net.cpp unit_io_files.cpp unit_io_pki.cpp
                  unit_io_rpc.cpp unit_io_tunnel.cpp
          DEPENDS weft_io)
