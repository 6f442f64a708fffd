# SPDX-License-Identifier: Apache-2.0
# ns per packet of the programs beside a do-nothing XDP program, all in one run.
weft_bpf_program(bench_driver_tc ${PROJECT_SOURCE_DIR}/tests/bench/bench_driver_tc.bpf.c)
weft_bpf_program(bench_driver_xdp ${PROJECT_SOURCE_DIR}/tests/bench/bench_driver_xdp.bpf.c)
add_custom_target(bench_bpf_skeletons DEPENDS ${CMAKE_BINARY_DIR}/bpf/include/bpf/bench_driver_tc.skel.h
                                              ${CMAKE_BINARY_DIR}/bpf/include/bpf/bench_driver_xdp.skel.h)
add_executable(bench_bpf ${PROJECT_SOURCE_DIR}/tests/bench/bench_bpf.cpp)
add_dependencies(bench_bpf bench_bpf_skeletons)
target_link_libraries(bench_bpf PRIVATE weft_test_bpf weft_options)
