# SPDX-License-Identifier: Apache-2.0
add_executable(bench_dns bench_dns.cpp)
target_link_libraries(bench_dns PRIVATE weft_io_dns weft_options)
