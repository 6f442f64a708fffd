# SPDX-License-Identifier: Apache-2.0
# A node with very many endpoints for `scripts/bench scale` and `lb`; the probes of `scripts/bench reach`.
if(TARGET weftd)
  add_executable(bench_member bench_member.cpp)
  target_link_libraries(bench_member PRIVATE weft_node weft_options)
  pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
  add_executable(bench_reach bench_reach.cpp load_common.cpp ${PROJECT_SOURCE_DIR}/cli/client.cpp)
  target_include_directories(bench_reach PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR})
  target_link_libraries(bench_reach PRIVATE weft_driver_link weft_driver_netns PkgConfig::HTTPLIB Threads::Threads weft_options)
  foreach(bench scale reach)
    add_test(NAME bench_${bench}_smoke COMMAND ${PROJECT_SOURCE_DIR}/scripts/bench ${bench} --smoke)
    set_tests_properties(bench_${bench}_smoke PROPERTIES LABELS bench TIMEOUT 120 SKIP_RETURN_CODE 77
                         RUN_SERIAL TRUE ENVIRONMENT "WEFT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  endforeach()
endif()
