// Includes Highway with what it needs to be told first. Every kernel file includes this instead of <hwy/highway.h>.
#ifndef INLAY_KERNELS_HIGHWAY_HPP_
#define INLAY_KERNELS_HIGHWAY_HPP_

// Highway 1.0 does not count AVX3_DL among its targets unless asked to, and then refuses to compile where -march already
// implies it (any -march=native since Ice Lake).
#if defined(__AVX512VNNI__) && !defined(HWY_WANT_AVX3_DL)
#define HWY_WANT_AVX3_DL
#endif

// Vectors of unknown length cannot be members or array elements, which the register tiles need; NEON is there as well.
#if defined(__ARM_FEATURE_SVE) && !defined(HWY_DISABLED_TARGETS)
#define HWY_DISABLED_TARGETS ((1LL << 27) | (1LL << 26) | (1LL << 25) | (1LL << 24) | (1LL << 23))
#endif

#include <hwy/highway.h>

#endif  // INLAY_KERNELS_HIGHWAY_HPP_
