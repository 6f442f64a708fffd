# SPDX-License-Identifier: Apache-2.0
# The programs that a lab needs, and the tests that drive it.
add_library(weft_test_lab STATIC ../harness/lab.cpp)
target_link_libraries(weft_test_lab PUBLIC weft_base PRIVATE weft_options)
target_include_directories(weft_test_lab PUBLIC ${PROJECT_SOURCE_DIR}/tests)
add_executable(whoami ../harness/whoami.cpp)
if(TARGET weftd)
  weft_test(netns_cluster LABEL netns SERIAL TIMEOUT 600 SOURCES netns_cluster.cpp DEPENDS weft_base weft_test_lab)
  weft_test(netns_managers LABEL netns SERIAL TIMEOUT 600 SOURCES netns_managers.cpp DEPENDS weft_base weft_test_lab)
  add_dependencies(netns_cluster weftd weft weft-shim whoami)
  add_dependencies(netns_managers weftd weft weft-shim whoami)
endif()
