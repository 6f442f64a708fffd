# SPDX-License-Identifier: Apache-2.0
weft_test(netns_dns_server LABEL netns SERIAL TIMEOUT 60
  SOURCES netns_dns_server.cpp netns_dns_forward.cpp
  DEPENDS weft_io_dns)
