// Convolutions and recurrences against double precision, at every tail length, and cut in any way.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/recurrence-inl.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

namespace {

namespace target = inlay::HWY_NAMESPACE;
constexpr float kUntouched = 54321.0f;

std::vector<float> Random(std::size_t n, unsigned seed, float scale, float center = 0.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(center, scale);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

BOOST_AUTO_TEST_SUITE(kernels_recurrence)

BOOST_AUTO_TEST_CASE(Convolution) {
  for (const std::size_t taps : {2u, 3u, 4u, 16u}) {
    for (const std::size_t channels : {1u, 7u, 16u, 17u, 40u}) {
      constexpr std::size_t kTokens = 9;
      const std::size_t history = taps - 1, stride = channels + 3;
      const unsigned seed = static_cast<unsigned>(taps * 100 + channels);
      const auto weights = Random(channels * taps, seed, 1.0f), bias = Random(channels, seed + 1, 1.0f);
      const auto before = Random(history * channels, seed + 2, 1.0f), inputs = Random(kTokens * stride, seed + 3, 1.0f);
      const auto input = [&](std::size_t t, std::size_t age, std::size_t c) {
        return t >= age ? inputs[(t - age) * stride + c] : before[(history + t - age) * channels + c];
      };
      for (const bool biased : {false, true}) {
        std::vector<float> x = inputs, after(history * channels, kUntouched);
        target::Convolve<target::Silu16>(taps, weights.data(), biased ? bias.data() : nullptr, channels, 0, channels, kTokens,
                                         before.data(), x.data(), stride, after.data());
        double worst = 0.0;
        for (std::size_t t = 0; t < kTokens; ++t) {
          for (std::size_t c = 0; c < channels; ++c) {
            double sum = biased ? static_cast<double>(bias[c]) : 0.0;
            for (std::size_t age = 0; age < taps; ++age) {
              sum += static_cast<double>(weights[c * taps + taps - 1 - age]) * static_cast<double>(input(t, age, c));
            }
            const double expected = sum / (1.0 + std::exp(-sum));
            worst = std::max(worst, std::fabs(static_cast<double>(x[t * stride + c]) - expected) / (1.0 + std::fabs(sum)));
          }
          for (std::size_t c = channels; c < stride; ++c) BOOST_TEST(x[t * stride + c] == inputs[t * stride + c]);
        }
        BOOST_TEST(worst < 2e-6);
        for (std::size_t i = 0; i < history; ++i) {
          for (std::size_t c = 0; c < channels; ++c) BOOST_TEST(after[i * channels + c] == input(kTokens, history - i, c));
        }
        // The same by parts: of channels, and of tokens.
        std::vector<float> parts = inputs, state = before, next(history * channels);
        for (const std::size_t begin : {0u, 1u, 4u}) {
          const std::size_t end = begin == 0 ? 1 : begin == 1 ? 4 : kTokens;
          for (std::size_t c = 0; c < channels; c += 16) {
            target::Convolve<target::Silu16>(taps, weights.data(), biased ? bias.data() : nullptr, channels, c,
                                             std::min(channels, c + 16), end - begin, state.data(),
                                             parts.data() + begin * stride, stride, next.data());
          }
          state = next;
        }
        BOOST_TEST((parts == x));
        BOOST_TEST((state == after));
      }
    }
  }
}

// One head's tokens, in rows that are wider than what is read.
struct Head {
  static constexpr std::size_t kTokens = 12;
  Head(std::size_t keys_dim, std::size_t values_dim, bool delta, unsigned seed)
      : key_dim(keys_dim), value_dim(values_dim), stride(2 * keys_dim + values_dim + 5), rows(Random(kTokens * stride, seed, 1.0f)) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      // Keys of length 1 where they correct what is known: longer ones would overshoot and grow without bound.
      double sum = 0.0;
      for (std::size_t i = 0; i < key_dim; ++i) sum += static_cast<double>(rows[t * stride + i]) * static_cast<double>(rows[t * stride + i]);
      for (std::size_t i = 0; delta && i < key_dim; ++i) rows[t * stride + i] /= static_cast<float>(std::sqrt(sum));
    }
    decay = Random(kTokens, seed + 1, 0.1f, 0.8f);
    strength = Random(kTokens, seed + 2, 0.1f, 0.7f);
  }
  target::RecurrenceInputs From(std::size_t t, std::size_t count) const {
    const float* const row = rows.data() + t * stride;
    return {count, row, row + key_dim, stride, row + 2 * key_dim, stride, decay.data() + t, strength.data() + t, 1};
  }
  std::size_t key_dim, value_dim, stride;
  std::vector<float> rows, decay, strength;
};

template <bool kDelta>
void CheckRecurrence(std::size_t key_dim, std::size_t value_dim) {
  const unsigned seed = static_cast<unsigned>(key_dim * 1000 + value_dim);
  const Head head(key_dim, value_dim, kDelta, seed);
  const auto before = Random(key_dim * value_dim, seed + 3, 1.0f);
  const std::size_t out_stride = value_dim + 3;
  const float skip = kDelta ? 0.0f : 0.6f;
  std::vector<float> after(before.size(), kUntouched), out(Head::kTokens * out_stride, kUntouched);
  target::AdvanceState<kDelta>(key_dim, value_dim, head.From(0, Head::kTokens), skip, before.data(), after.data(), out.data(),
                               out_stride);

  std::vector<double> state(before.begin(), before.end());
  double worst = 0.0, largest = 0.0;
  for (std::size_t t = 0; t < Head::kTokens; ++t) {
    const auto at = [&](std::size_t i) { return static_cast<double>(head.rows[t * head.stride + i]); };
    const double decay = static_cast<double>(head.decay[t]), strength = static_cast<double>(head.strength[t]);
    for (std::size_t j = 0; j < value_dim; ++j) {
      double known = 0.0, result = static_cast<double>(skip) * at(2 * key_dim + j);
      for (std::size_t i = 0; kDelta && i < key_dim; ++i) known += decay * state[i * value_dim + j] * at(i);
      const double written = strength * (at(2 * key_dim + j) - known);
      for (std::size_t i = 0; i < key_dim; ++i) {
        double& s = state[i * value_dim + j];
        s = decay * s + at(i) * written;
        result += s * at(key_dim + i);
      }
      largest = std::max(largest, std::fabs(result));
      worst = std::max(worst, std::fabs(static_cast<double>(out[t * out_stride + j]) - result));
    }
    for (std::size_t j = value_dim; j < out_stride; ++j) BOOST_TEST(out[t * out_stride + j] == kUntouched);
  }
  BOOST_TEST(worst < 3e-6 * largest, "key " << key_dim << ", value " << value_dim << ": " << worst << " of " << largest);
  for (std::size_t i = 0; i < state.size(); ++i) {
    BOOST_TEST(std::fabs(static_cast<double>(after[i]) - state[i]) < 1e-5 * (1.0 + std::fabs(state[i])));
  }

  std::vector<float> parts(out.size(), kUntouched), current = before, next(before.size());
  for (std::size_t t = 0; t < Head::kTokens;) {
    const std::size_t count = std::min<std::size_t>(t + 1, Head::kTokens - t);
    target::AdvanceState<kDelta>(key_dim, value_dim, head.From(t, count), skip, current.data(), next.data(),
                                 parts.data() + t * out_stride, out_stride);
    current.swap(next);
    t += count;
  }
  BOOST_TEST((parts == out));
  BOOST_TEST((current == after));
}

BOOST_AUTO_TEST_CASE(Recurrence) {
  for (const std::size_t key_dim : {1u, 8u, 30u, 128u}) {
    for (const std::size_t value_dim : {1u, 15u, 16u, 17u, 48u, 64u, 128u, 177u}) {
      CheckRecurrence<false>(key_dim, value_dim);
      CheckRecurrence<true>(key_dim, value_dim);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
