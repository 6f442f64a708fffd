# SPDX-License-Identifier: Apache-2.0
weft_test(unit_cluster LABEL unit
          SOURCES unit_cluster_wire.cpp unit_cluster_table.cpp unit_cluster_suspicion.cpp unit_cluster_gossip.cpp
          DEPENDS weft_core_cluster)
weft_test(unit_cluster_sealed LABEL unit SOURCES unit_cluster_sealed.cpp DEPENDS weft_io_sealed weft_core_cluster)
