# SPDX-License-Identifier: Apache-2.0
weft_test(netns_drivers_netns LABEL netns SERIAL TIMEOUT 60 SOURCES netns_drivers_netns.cpp
          DEPENDS weft_test_netns weft_driver_netns)
weft_test(netns_drivers_link LABEL netns SERIAL TIMEOUT 120
          SOURCES netns_drivers_link.cpp netns_drivers_uplink.cpp
          DEPENDS weft_test_netns weft_driver_link)
weft_test(netns_drivers_nat LABEL netns SERIAL TIMEOUT 60 SOURCES netns_drivers_nat.cpp
          DEPENDS weft_test_netns weft_driver_link)
weft_test(netns_drivers_bpf LABEL netns SERIAL TIMEOUT 120 SOURCES netns_drivers_bpf.cpp
          DEPENDS weft_test_netns weft_driver_bpf)
weft_test(netns_drivers_runtime LABEL netns SERIAL TIMEOUT 120 SOURCES netns_drivers_runtime.cpp
          DEPENDS weft_test_netns weft_runtime_netns)
add_dependencies(netns_drivers_runtime weft-shim)
