# SPDX-License-Identifier: Apache-2.0
add_executable(gossip_node gossip_node.cpp)
target_link_libraries(gossip_node PRIVATE weft_node weft_options)
add_test(NAME bench_gossip COMMAND ${PROJECT_SOURCE_DIR}/scripts/bench gossip --smoke)
set_tests_properties(bench_gossip PROPERTIES LABELS bench TIMEOUT 120 RUN_SERIAL TRUE SKIP_RETURN_CODE 77
                     ENVIRONMENT "WEFT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
