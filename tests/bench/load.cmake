# SPDX-License-Identifier: Apache-2.0
# The loads of `scripts/bench overlay` and `lb`, and a run of both that only proves that they work.
add_executable(bench_load bench_load.cpp load_client.cpp load_common.cpp load_server.cpp)
target_include_directories(bench_load PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(bench_load PRIVATE weft_base Threads::Threads weft_options)
if(TARGET weftd)
  foreach(bench overlay lb)
    add_test(NAME bench_${bench}_smoke COMMAND ${PROJECT_SOURCE_DIR}/scripts/bench ${bench} --smoke)
    set_tests_properties(bench_${bench}_smoke PROPERTIES LABELS bench TIMEOUT 120 SKIP_RETURN_CODE 77
                         RUN_SERIAL TRUE ENVIRONMENT "WEFT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  endforeach()
endif()
