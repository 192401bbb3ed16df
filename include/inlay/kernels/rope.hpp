// Rotary position embedding: frequencies and the table of turns for a position. Plain C++, double precision.
//
// Apart from the rotation itself (elementwise-inl.hpp) because this runs once per position, needs no SIMD and decides the
// precision: an angle of 10^5 radians in float32 would be wrong by 4e-3.
// Source: Su et al. 2021, "RoFormer", https://arxiv.org/abs/2104.09864.
#ifndef INLAY_KERNELS_ROPE_HPP_
#define INLAY_KERNELS_ROPE_HPP_

#include <cmath>
#include <cstddef>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// inverse_frequencies[i] = base^(-2 i / rope_dim) / scale / factors[i] for i < rope_dim / 2: radians per position. `scale`
// is 1 or the factor of linear scaling; `factors` (rope_dim / 2 values, or nullptr for ones) are those of
// rope_freqs.weight.
inline void RopeFrequencies(double base, double scale, const float* factors, std::size_t rope_dim,
                            float* inverse_frequencies) {
  for (std::size_t i = 0; i < rope_dim / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(rope_dim);
    const double factor = factors == nullptr ? 1.0 : static_cast<double>(factors[i]);
    inverse_frequencies[i] = static_cast<float>(std::pow(base, exponent) / (scale * factor));
  }
}

// The turns of one position as complex numbers: cos_sin[2 i] = cos(position * inverse_frequencies[i]),
// cos_sin[2 i + 1] = sin(...), for i < half (= rope_dim / 2). Costs two library calls per pair; made once per position and
// used by every head of every layer.
inline void RopeTable(const float* inverse_frequencies, std::size_t half, std::size_t position, float* cos_sin) {
  for (std::size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * static_cast<double>(inverse_frequencies[i]);
    cos_sin[2 * i] = static_cast<float>(std::cos(angle));
    cos_sin[2 * i + 1] = static_cast<float>(std::sin(angle));
  }
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ROPE_HPP_
