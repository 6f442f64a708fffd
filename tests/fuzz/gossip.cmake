# SPDX-License-Identifier: Apache-2.0
weft_fuzz(fuzz_gossip SOURCES tests/fuzz/fuzz_gossip.cpp
          agent/core/cluster/attachments.cpp agent/core/cluster/compare.cpp
          agent/core/cluster/engine.cpp agent/core/cluster/gossip.cpp
          agent/core/cluster/member_table.cpp agent/core/cluster/members.cpp
          agent/core/cluster/probe.cpp agent/core/cluster/records.cpp agent/core/cluster/suspicion.cpp
          agent/core/cluster/sync.cpp agent/core/cluster/table.cpp agent/core/cluster/wire.cpp
          agent/base/address.cpp agent/base/assert.cpp agent/base/result.cpp agent/base/rng.cpp)
