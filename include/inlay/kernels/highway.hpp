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

#endif  // INLAY_KERNELS_HIGHWAY_HPP_

// Outside of the guard: dynamic dispatch includes it once for each target.
#include <hwy/highway.h>

// Whether this target multiplies bytes with AVX512-VNNI. Highway 1.0 would select AVX3_DL by the wrong macro, and its list
// of instructions for dynamic dispatch has AVX-VNNI instead; so it is AVX3 that has them, where the compiler was told so or
// as the only AVX-512 level of dynamic dispatch (dispatch/model.hpp).
#undef INLAY_AVX512_VNNI
#if HWY_TARGET < HWY_AVX3 || (HWY_TARGET == HWY_AVX3 && defined(__AVX512VNNI__))
#define INLAY_AVX512_VNNI 1
#elif HWY_TARGET == HWY_AVX3 && defined(INLAY_DISPATCH) && HWY_STATIC_TARGET != HWY_AVX3
#define INLAY_AVX512_VNNI 1
// HWY_BEFORE_NAMESPACE and HWY_ATTR take the instructions of the target from here.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512vnni"
#else
#define INLAY_AVX512_VNNI 0
#endif
