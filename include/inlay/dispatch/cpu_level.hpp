// The levels of x86 processors that dynamic dispatch chooses from, and which of them the machine at hand has.
//
// Own code instead of Highway's, which needs its library to be linked, and instead of __builtin_cpu_supports, which does not
// know every name with Clang 14.
#ifndef INLAY_DISPATCH_CPU_LEVEL_HPP_
#define INLAY_DISPATCH_CPU_LEVEL_HPP_

#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

INLAY_BEGIN_NAMESPACE

// In ascending order: what a level can do, the next can too.
enum class CpuLevel : std::uint8_t {
  kBaseline,  // what the file was compiled for
  kSse4,      // SSE4.2, AES, PCLMUL: Westmere (2010)
  kAvx2,      // AVX2, FMA, BMI, F16C: Haswell (2013), Zen
  kAvx512,    // AVX-512 F, BW, CD, DQ, VL and VNNI: Cascade Lake (2019), Zen 4
};
inline constexpr CpuLevel kCpuLevels[] = {CpuLevel::kBaseline, CpuLevel::kSse4, CpuLevel::kAvx2, CpuLevel::kAvx512};

constexpr std::string_view Name(CpuLevel level) {
  switch (level) {
    case CpuLevel::kBaseline: return "baseline";
    case CpuLevel::kSse4: return "sse4";
    case CpuLevel::kAvx2: return "avx2";
    case CpuLevel::kAvx512: return "avx512";
  }
  return "unknown";
}

// The highest level that this processor and its operating system offer. Cost: some 100 ns, up to 100 us in a virtual machine.
inline CpuLevel DetectCpuLevel() {
  CpuLevel level = CpuLevel::kBaseline;
#if defined(__x86_64__) || defined(__i386__)
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  // Whether all of these bits are set.
  const auto has = [](std::uint32_t flags, auto... bits) { return (((flags >> bits) & 1u) & ... & 1u) != 0; };
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return level;
  const std::uint32_t features = c;
  if (!has(features, 0, 1, 9, 19, 20, 23, 25)) return level;  // SSE3, PCLMUL, SSSE3, SSE4.1, SSE4.2, POPCNT, AES
  level = CpuLevel::kSse4;

  if (!has(features, 12, 27, 28, 29)) return level;  // FMA, OSXSAVE, AVX, F16C
  std::uint32_t saved = 0;                           // register states that the operating system switches
  asm volatile("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  if (!has(saved, 1, 2)) return level;                                                 // XMM, YMM
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d) == 0 || !has(c, 5)) return level;       // LZCNT
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || !has(b, 3, 5, 8)) return level;  // BMI, AVX2, BMI2
  level = CpuLevel::kAvx2;

  // Mask registers and both halves of ZMM; AVX-512 F, DQ, CD, BW, VL; VNNI.
  if (has(saved, 5, 6, 7) && has(b, 16, 17, 28, 30, 31) && has(c, 11)) level = CpuLevel::kAvx512;
#endif
  return level;
}

INLAY_END_NAMESPACE

#endif  // INLAY_DISPATCH_CPU_LEVEL_HPP_
