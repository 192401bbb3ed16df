// Version, ABI tag and the few macros of the library; every INLAY_ macro is defined here.
//
// The whole library lives in an inline namespace whose name says what the enclosing translation unit was compiled for.
// Inline functions of a header-only library are merged by the linker: without the tag, a program that compiles one file
// with AVX-512 and another without could run AVX-512 code from the "portable" one. With it, they are different symbols,
// and passing an inlay type between such files is a link error instead of a crash.
#ifndef INLAY_CORE_MACROS_HPP_
#define INLAY_CORE_MACROS_HPP_

#define INLAY_VERSION_MAJOR 0
#define INLAY_VERSION_MINOR 1
#define INLAY_VERSION_PATCH 0

#if defined(__AVX512VNNI__) && (defined(__AMX_INT8__) || defined(__AMXINT8__))
#define INLAY_ABI_CPU avx512amx
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__) && defined(__AVXVNNI__)
#define INLAY_ABI_CPU avx512avxvnni
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#define INLAY_ABI_CPU avx512vnni
#elif defined(__AVX512F__) && defined(__AVX512BW__)
#define INLAY_ABI_CPU avx512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define INLAY_ABI_CPU avx2vnni
#elif defined(__AVX2__) && defined(__FMA__)
#define INLAY_ABI_CPU avx2
#elif defined(__SSE4_1__)
#define INLAY_ABI_CPU sse4
#elif defined(__SSSE3__)
#define INLAY_ABI_CPU ssse3
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define INLAY_ABI_CPU neon_i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define INLAY_ABI_CPU neon_dotprod
#elif defined(__ARM_NEON)
#define INLAY_ABI_CPU neon
#elif defined(__wasm_simd128__)
#define INLAY_ABI_CPU wasm128
#else
#define INLAY_ABI_CPU baseline
#endif

#if defined(__AMX_BF16__) || defined(__AMXBF16__)
#define INLAY_ABI_BF16 _amxbf16
#elif defined(__AVX512BF16__)
#define INLAY_ABI_BF16 _bf16
#else
#define INLAY_ABI_BF16
#endif

#if defined(__FAST_MATH__)
#define INLAY_ABI_MATH _fast
#else
#define INLAY_ABI_MATH
#endif

#if defined(NDEBUG)
#define INLAY_ABI_CHECKS
#else
#define INLAY_ABI_CHECKS _debug
#endif

#define INLAY_DETAIL_CONCAT5(a, b, c, d, e) a##b##c##d##e
#define INLAY_DETAIL_EXPAND5(a, b, c, d, e) INLAY_DETAIL_CONCAT5(a, b, c, d, e)
#define INLAY_ABI_NAMESPACE INLAY_DETAIL_EXPAND5(v0_1_, INLAY_ABI_CPU, INLAY_ABI_BF16, INLAY_ABI_MATH, INLAY_ABI_CHECKS)

#define INLAY_BEGIN_NAMESPACE \
  namespace inlay {           \
  inline namespace INLAY_ABI_NAMESPACE {
#define INLAY_END_NAMESPACE \
  }                         \
  }

// Set-up code that runs once: compiled for size, whatever the optimisation.
#if defined(__GNUC__)
#define INLAY_COLD __attribute__((cold))
#else
#define INLAY_COLD
#endif

// Assertions guard the library's own invariants only: nothing that a file or a user can cause. Off in release builds.
#if defined(NDEBUG)
#define INLAY_ASSERT(condition) ((void)0)
#else
#define INLAY_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

// Returns the error of `result` from the enclosing function, or continues. For Result<void> and Result<T> whose value
// is not needed.
#define INLAY_CHECK_OK(expression)                                                            \
  do {                                                                                        \
    if (auto inlay_status = (expression); !inlay_status) return inlay_status.error_value();   \
  } while (false)

// INLAY_ASSIGN_OR_RETURN(auto value, MayFail()); declares `value` or returns the error from the enclosing function.
#define INLAY_DETAIL_CONCAT2(a, b) a##b
#define INLAY_DETAIL_EXPAND2(a, b) INLAY_DETAIL_CONCAT2(a, b)
#define INLAY_ASSIGN_OR_RETURN(declaration, expression) \
  INLAY_DETAIL_ASSIGN(INLAY_DETAIL_EXPAND2(inlay_result_, __LINE__), declaration, expression)
#define INLAY_DETAIL_ASSIGN(result, declaration, expression)  \
  auto result = (expression);                                 \
  if (!result) return result.error_value();                   \
  declaration = static_cast<decltype(result)&&>(result).value_unchecked()

#endif  // INLAY_CORE_MACROS_HPP_
