// Rotary position embedding: frequencies and the table of turns for a position. Plain C++, double precision.
//
// Apart from the rotation itself (elementwise-inl.hpp) because this runs once per position, needs no SIMD and decides the
// precision: an angle of 10^5 radians in float32 would be wrong by 4e-3.
// Source: Su et al. 2021, "RoFormer", https://arxiv.org/abs/2104.09864.
#ifndef INLAY_KERNELS_ROPE_HPP_
#define INLAY_KERNELS_ROPE_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071): frequencies with more than beta_fast turns in the original
// context stay, those with fewer than beta_slow are divided by the scale, in between is a ramp over their index.
struct YarnRamp {
  std::size_t original_context = 0;  // 0: no YaRN, all frequencies are divided
  double beta_fast = 32.0;
  double beta_slow = 1.0;
};

// inverse_frequencies[i] = base^(-2 i / rope_dim) / scale / factors[i] for i < rope_dim / 2: radians per position. `scale`
// is 1 or the factor of linear scaling or YaRN; `factors` (rope_dim / 2 values, or nullptr for ones) are those of
// rope_freqs.weight or of LongRoPE.
inline void RopeFrequencies(double base, double scale, const float* factors, std::size_t rope_dim, const YarnRamp& yarn,
                            float* inverse_frequencies) {
  const double dim = static_cast<double>(rope_dim);
  double low = 0.0, high = 0.0;
  if (yarn.original_context != 0) {
    // The index of the frequency that turns `beta` times.
    const auto index_of = [&](double beta) {
      constexpr double kTwoPi = 6.283185307179586;
      return dim * std::log(static_cast<double>(yarn.original_context) / (beta * kTwoPi)) / (2.0 * std::log(base));
    };
    low = std::max(0.0, std::floor(index_of(yarn.beta_fast)));
    high = std::min(dim - 1.0, std::ceil(index_of(yarn.beta_slow)));
  }
  for (std::size_t i = 0; i < rope_dim / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / dim);
    double kept = 0.0;  // which part of the frequency is not divided
    if (yarn.original_context != 0) {
      kept = 1.0 - std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
    }
    const double factor = factors == nullptr ? 1.0 : static_cast<double>(factors[i]);
    inverse_frequencies[i] = static_cast<float>(frequency * (kept + (1.0 - kept) / scale) / factor);
  }
}

// The factor on queries and keys that goes with YaRN: 1 + 0.1 ln(scale), divided by 1 + 0.1 m ln(scale) where the model
// has a log multiplier m.
inline double YarnMagnitude(double scale, double log_multiplier) {
  if (scale <= 1.0) return 1.0;
  const double log = 0.1 * std::log(scale);
  return (log + 1.0) / (log_multiplier * log + 1.0);
}

// The turns of one position as complex numbers: cos_sin[2 i] = magnitude cos(position * inverse_frequencies[i]),
// cos_sin[2 i + 1] = magnitude sin(...), for i < half (= rope_dim / 2). Costs two library calls per pair; made once per position and
// used by every head of every layer.
inline void RopeTable(const float* inverse_frequencies, std::size_t half, std::size_t position, double magnitude,
                      float* cos_sin) {
  for (std::size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * static_cast<double>(inverse_frequencies[i]);
    cos_sin[2 * i] = static_cast<float>(magnitude * std::cos(angle));
    cos_sin[2 * i + 1] = static_cast<float>(magnitude * std::sin(angle));
  }
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ROPE_HPP_
