// Random numbers that are the same on every machine. Apart from the sampler because search and tests draw as well, and
// because <random>'s distributions differ between standard libraries.
#ifndef INLAY_GENERATE_RANDOM_HPP_
#define INLAY_GENERATE_RANDOM_HPP_

#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// PCG32 (XSH-RR, 64 bits of state; M. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
// Algorithms for Random Number Generation", 2014; https://www.pcg-random.org). Integer arithmetic only, so a seed gives
// one sequence everywhere. Not for secrets.
class Pcg32 {
 public:
  // `stream` selects one of 2^63 sequences that do not overlap for the same seed.
  constexpr explicit Pcg32(std::uint64_t seed = 0, std::uint64_t stream = 0) : increment_((stream << 1) | 1) {
    Next();
    state_ += seed;
    Next();
  }

  // 32 uniform bits.
  constexpr std::uint32_t Next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005ULL + increment_;
    const std::uint32_t shifted = static_cast<std::uint32_t>(((old >> 18) ^ old) >> 27);
    const std::uint32_t rotation = static_cast<std::uint32_t>(old >> 59);
    return (shifted >> rotation) | (shifted << ((32 - rotation) & 31));
  }

  // Uniform in [0, 1), all 53 bits of a double's significand; takes two steps.
  constexpr double NextUnit() {
    const std::uint64_t high = Next() >> 5;
    const std::uint64_t low = Next() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }

  // The whole state, to save and resume a sequence.
  constexpr std::uint64_t state() const { return state_; }
  constexpr void set_state(std::uint64_t state) { state_ = state; }

 private:
  std::uint64_t state_ = 0;
  std::uint64_t increment_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_RANDOM_HPP_
