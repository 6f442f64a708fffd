# SPDX-License-Identifier: Apache-2.0
weft_test(unit_store LABEL unit SOURCES unit_store.cpp DEPENDS weft_store)
weft_test(unit_store_dqlite LABEL unit TIMEOUT 120
          SOURCES unit_store_wire.cpp unit_store_contract.cpp unit_store_dqlite.cpp
          DEPENDS weft_store_dqlite PkgConfig::SQLITE)
weft_test(unit_store_cluster LABEL sim TIMEOUT 300
          SOURCES unit_store_cluster.cpp unit_store_members.cpp unit_store_cost.cpp
                  ../harness/store_process.cpp
          DEPENDS weft_store_dqlite PkgConfig::SQLITE)
