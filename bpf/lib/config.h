/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent knows when it loads a program: constants to the verifier. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "weft/abi/types.h"

/* `used` keeps the section in programs that read no field of it. */
const volatile struct weft_config weft_config __attribute__((used)) = {};

/* So that the BTF of the maps has the names of their indices. */
const volatile enum weft_drop_reason weft_drop_names __attribute__((used)) = 0;
const volatile enum weft_counter weft_counter_names __attribute__((used)) = 0;

#define ALWAYS_INLINE static __attribute__((always_inline)) inline

/* A function that the verifier checks once, on its own: pointers may be null there, and structs
 * that cross the call hold no pointers. */
#define GLOBAL __attribute__((noinline))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Keeps the compiler from combining what the verifier must see apart. */
#define barrier_value(x) asm volatile("" : "+r"(x))
