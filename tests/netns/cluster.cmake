# SPDX-License-Identifier: Apache-2.0
# The programs that a lab needs, and the tests that drive it.
add_library(weft_test_lab STATIC ../harness/lab.cpp)
target_link_libraries(weft_test_lab PUBLIC weft_base PRIVATE weft_options)
target_include_directories(weft_test_lab PUBLIC ${PROJECT_SOURCE_DIR}/tests)
add_executable(whoami ../harness/whoami.cpp)
if(TARGET weftd)
  weft_test(netns_cluster LABEL netns SERIAL TIMEOUT 600 SOURCES netns_cluster.cpp DEPENDS weft_base weft_test_lab)
  weft_test(netns_managers LABEL netns SERIAL TIMEOUT 600 SOURCES netns_managers.cpp DEPENDS weft_base weft_test_lab)
  weft_test(netns_bad_input LABEL netns SERIAL TIMEOUT 600 SOURCES netns_bad_input.cpp
            DEPENDS weft_base weft_test_lab)
  foreach(test netns_cluster netns_managers netns_bad_input)
    add_dependencies(${test} weftd weft weft-shim whoami)
  endforeach()
endif()
