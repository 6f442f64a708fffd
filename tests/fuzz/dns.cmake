# SPDX-License-Identifier: Apache-2.0
weft_fuzz(fuzz_dns
  SOURCES tests/fuzz/fuzz_dns.cpp
          agent/core/dns/answer.cpp agent/core/dns/lookup.cpp agent/core/dns/message.cpp agent/core/dns/query.cpp
          agent/core/dns/resolv_conf.cpp agent/core/dns/resolve.cpp agent/core/dns/view.cpp agent/core/dns/wire.cpp
          agent/base/address.cpp agent/base/assert.cpp agent/base/result.cpp agent/base/rng.cpp)
