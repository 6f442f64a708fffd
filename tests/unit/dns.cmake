# SPDX-License-Identifier: Apache-2.0
weft_test(unit_dns LABEL unit
  SOURCES unit_dns_query.cpp unit_dns_view.cpp unit_dns_resolve.cpp unit_dns_message.cpp
          unit_dns_resolv_conf.cpp
  DEPENDS weft_core_dns)
