// The core's clock rate, measured: so that benchmarks can print work per cycle on machines that hide their clock.
#ifndef BENCHMARKS_SUPPORT_CLOCK_HPP_
#define BENCHMARKS_SUPPORT_CLOCK_HPP_

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace inlay_bench {

// Cycles per second: a chain of dependent 64-bit multiplications takes 3 cycles each on every x86-64 since 2008 and on
// current 64-bit ARM cores. The best of several runs, measured once per process.
inline double ClockRate() {
  static const double rate = [] {
    using Clock = std::chrono::steady_clock;
    constexpr int kSteps = 100'000;
    double best = 1e9;
    std::uint64_t x = 3;
    for (int run = 0; run < 50; ++run) {
      const auto start = Clock::now();
      for (int i = 0; i < kSteps; ++i) {
        x *= x;
        asm volatile("" : "+r"(x));
      }
      best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
    }
    return 3.0 * kSteps / best;
  }();
  return rate;
}

}  // namespace inlay_bench

#endif  // BENCHMARKS_SUPPORT_CLOCK_HPP_
