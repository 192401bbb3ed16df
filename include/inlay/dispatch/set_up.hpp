// What a file that compiles kernels for several targets defines before it includes <hwy/foreach_target.h>. It must not have
// included any kernel before: kernels are compiled where they are first included.
#ifndef INLAY_DISPATCH_SET_UP_HPP_
#define INLAY_DISPATCH_SET_UP_HPP_

#if defined(INLAY_KERNELS_SIMD_INL_HPP_) || defined(INLAY_KERNELS_FLOAT_LANES_INL_HPP_) || defined(HWY_HIGHWAY_INCLUDED)
#error "include inlay/dispatch/model.hpp before any other header of inlay or Highway"
#endif

// Kernels ask for this: see kernels/highway.hpp.
#define INLAY_DISPATCH

// One target per CpuLevel, and elsewhere than on x86 only one. Not SSE2 (bit 14) and SSSE3 (12): processors that lack SSE4
// have the baseline. Not AVX3_DL, AVX3_ZEN4, AVX3_SPR and AVX10_2 (7, 6, 4, 3): see kernels/highway.hpp.
#if !defined(__x86_64__) && !defined(__i386__)
#define HWY_COMPILE_ONLY_STATIC
#elif !defined(HWY_DISABLED_TARGETS)
#define HWY_DISABLED_TARGETS ((1LL << 14) | (1LL << 12) | (1LL << 7) | (1LL << 6) | (1LL << 4) | (1LL << 3))
#endif

#endif  // INLAY_DISPATCH_SET_UP_HPP_
