// Attention beyond the causal softmax of equal widths: values of another width, capped scores, sinks, chunks, and queries
// that see what comes after them. Apart from attention_test.cpp, whose cases have the plain shape.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/attention-inl.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

namespace target = inlay::HWY_NAMESPACE;
using inlay::AttentionMask;
using inlay::AttentionShape;
using inlay::DynamicExtent;

constexpr inlay::KvType kType = inlay::KvType::kF32;

struct Variant {
  const char* name;
  std::size_t head_dim = 16;
  std::size_t value_dim = 16;
  AttentionMask mask = AttentionMask::kCausal;
  std::size_t window = 0;
  float softcap = 0.0f;
  bool sinks = false;
};

constexpr Variant kVariants[] = {
    {.name = "narrow values", .head_dim = 24, .value_dim = 8},
    {.name = "wide values", .head_dim = 8, .value_dim = 40},
    {.name = "values of one vector", .head_dim = 32, .value_dim = 16},
    {.name = "soft cap", .softcap = 1.5f},
    {.name = "soft cap and window", .window = 70, .softcap = 0.7f},
    {.name = "sinks", .sinks = true},
    {.name = "sinks and window", .window = 5, .sinks = true},
    {.name = "chunks", .mask = AttentionMask::kChunked, .window = 48},
    {.name = "chunks of more than a span", .mask = AttentionMask::kChunked, .window = 300},
    {.name = "both ways", .mask = AttentionMask::kSymmetric},
    {.name = "both ways, window", .mask = AttentionMask::kSymmetric, .window = 90},
    {.name = "both ways, window of one", .mask = AttentionMask::kSymmetric, .window = 1},
    {.name = "all at once", .head_dim = 12, .value_dim = 20, .window = 33, .softcap = 2.0f, .sinks = true},
};

// All queries of `length` positions, and what they give.
class Case {
 public:
  static constexpr std::size_t kGroup = 3;

  Case(const Variant& variant, std::size_t length) : v_(variant), length_(length) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& x, std::size_t n, float scale) {
      x.resize(n);
      for (float& value : x) value = scale * normal(random);
    };
    fill(keys_, length * v_.head_dim, 1.0f);
    fill(values_, length * v_.value_dim, 1.0f);
    fill(queries_, length * kGroup * v_.head_dim, 1.0f);
    fill(sinks_, kGroup, 2.0f);
    shape.group = kGroup;
    shape.capacity = inlay::KvCapacity(length);
    shape.window = v_.window;
    shape.length = length;
    shape.mask = v_.mask;
    shape.scale = 1.0f / std::sqrt(static_cast<float>(v_.head_dim));
    shape.softcap = v_.softcap;
    if (v_.sinks) shape.sinks = sinks_.data();
    key_cache_.assign(inlay::KvKeyBytes(kType, v_.head_dim, shape.capacity), std::byte{0xFF});
    value_cache_.assign(inlay::KvValueBytes(kType, v_.value_dim, shape.capacity), std::byte{0xFF});
    scratch_.resize(inlay::AttentionScratchFloats(v_.head_dim, v_.value_dim), NAN);
    for (std::size_t p = 0; p < length; ++p) {
      target::StoreKey<kType>(key_cache_.data(), DynamicExtent{v_.head_dim}, shape.capacity, p, &keys_[p * v_.head_dim]);
      target::StoreValue<kType>(value_cache_.data(), DynamicExtent{v_.value_dim}, shape.capacity, p,
                                &values_[p * v_.value_dim]);
    }
  }

  std::size_t out_stride() const { return kGroup * v_.value_dim; }

  // Tokens [begin, end).
  void Attend(std::size_t begin, std::size_t end, std::vector<float>& out) {
    target::AttendTokens<kType>(shape, key_cache_.data(), value_cache_.data(), DynamicExtent{v_.head_dim},
                                DynamicExtent{v_.value_dim}, queries_.data(), kGroup * v_.head_dim, 0, begin, end, out.data(),
                                out_stride(), scratch_.data());
  }

  // One token, span by span.
  std::vector<float> AttendSpans(std::size_t position) {
    const inlay::SpanRange spans = inlay::AttentionSpans(shape, position);
    const std::size_t floats = inlay::AttentionPartialFloats(v_.value_dim, kGroup, 1);
    std::vector<float> partials(spans.size() * floats, NAN), out(out_stride(), 77.0f);
    for (std::size_t s = spans.size(); s-- > 0;) {
      target::AttendSpans<kType>(shape, key_cache_.data(), value_cache_.data(), DynamicExtent{v_.head_dim},
                                DynamicExtent{v_.value_dim}, &queries_[position * kGroup * v_.head_dim], position,
                                inlay::SpanRange{spans.begin + s, spans.begin + s + 1},
                                partials.data() + s * floats, scratch_.data());
    }
    target::MergeSpans(shape, v_.value_dim, spans.size(), partials.data(), out.data());
    return out;
  }

  bool Sees(std::size_t q, std::size_t k) const {
    const std::size_t distance = q > k ? q - k : k - q;
    switch (v_.mask) {
      case AttentionMask::kCausal: return k <= q && (v_.window == 0 || distance < v_.window);
      case AttentionMask::kChunked: return k <= q && k / v_.window == q / v_.window;
      case AttentionMask::kSymmetric: return v_.window == 0 || distance <= v_.window / 2;
    }
    return false;
  }

  std::vector<double> Oracle() const {
    std::vector<double> out(length_ * out_stride());
    for (std::size_t q = 0; q < length_; ++q) {
      for (std::size_t h = 0; h < kGroup; ++h) {
        std::vector<std::pair<std::size_t, double>> seen;
        double largest = v_.sinks ? static_cast<double>(sinks_[h]) : -INFINITY;
        for (std::size_t k = 0; k < length_; ++k) {
          if (!Sees(q, k)) continue;
          double score = 0;
          for (std::size_t i = 0; i < v_.head_dim; ++i) {
            score += static_cast<double>(queries_[(q * kGroup + h) * v_.head_dim + i]) *
                     static_cast<double>(keys_[k * v_.head_dim + i]);
          }
          score *= static_cast<double>(shape.scale);
          const double cap = static_cast<double>(v_.softcap);
          if (cap != 0) score = cap * std::tanh(score / cap);
          largest = std::max(largest, score);
          seen.push_back({k, score});
        }
        double sum = v_.sinks ? std::exp(static_cast<double>(sinks_[h]) - largest) : 0;
        for (auto& [k, score] : seen) sum += score = std::exp(score - largest);
        for (const auto& [k, weight] : seen) {
          for (std::size_t i = 0; i < v_.value_dim; ++i) {
            out[q * out_stride() + h * v_.value_dim + i] += weight / sum * static_cast<double>(values_[k * v_.value_dim + i]);
          }
        }
      }
    }
    return out;
  }

  AttentionShape shape;

 private:
  Variant v_;
  std::size_t length_;
  std::vector<float> keys_, values_, queries_, sinks_, scratch_;
  std::vector<std::byte> key_cache_, value_cache_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_attention_variants)

BOOST_AUTO_TEST_CASE(EqualNaiveSoftmax) {
  for (const Variant& variant : kVariants) {
    for (const std::size_t length : {1u, 30u, 310u, 600u}) {
      Case c(variant, length);
      std::vector<float> out(length * c.out_stride(), 77.0f);
      c.Attend(0, length, out);
      const std::vector<double> expected = c.Oracle();
      double worst = 0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        const double error = std::fabs(static_cast<double>(out[i]) - expected[i]);
        worst = error <= worst ? worst : error;
      }
      BOOST_TEST(worst < 3e-6, variant.name << ", " << length << " positions: " << worst);
    }
  }
}

BOOST_AUTO_TEST_CASE(SplitsAndSpansGiveTheSameBits) {
  std::mt19937 random(3);
  for (const Variant& variant : kVariants) {
    constexpr std::size_t kLength = 600;
    Case c(variant, kLength);
    std::vector<float> whole(kLength * c.out_stride(), 77.0f), parts = whole;
    c.Attend(0, kLength, whole);
    for (std::size_t t = 0; t < kLength;) {
      const std::size_t end = std::min<std::size_t>(kLength, t + 1 + random() % 40);
      c.Attend(t, end, parts);
      t = end;
    }
    BOOST_TEST(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0, variant.name);
    for (const std::size_t position : {0u, 255u, 256u, 299u, 300u, 511u, 599u}) {
      const std::vector<float> token = c.AttendSpans(position);
      BOOST_TEST(std::memcmp(token.data(), &whole[position * c.out_stride()], token.size() * sizeof(float)) == 0,
                 variant.name << ", position " << position);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
