// Attention against a naive softmax in double with stated bounds, and bit for bit against itself for every split.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/attention-inl.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace {

using inlay::KvType;
namespace target = inlay::HWY_NAMESPACE;

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4};

template <class F>
void WithType(KvType type, F f) {
  switch (type) {
    case KvType::kF32: return f(std::integral_constant<KvType, KvType::kF32>());
    case KvType::kF16: return f(std::integral_constant<KvType, KvType::kF16>());
    case KvType::kBF16: return f(std::integral_constant<KvType, KvType::kBF16>());
    case KvType::kQ8: return f(std::integral_constant<KvType, KvType::kQ8>());
    case KvType::kQ4: return f(std::integral_constant<KvType, KvType::kQ4>());
  }
}

// Keys and values of `length` positions, queries of `tokens` tokens of which the first is at `first_position`.
struct Case {
  KvType type;
  std::size_t head_dim, length, tokens, first_position;
  inlay::AttentionShape shape;
  std::vector<float> keys, values;  // [length, head_dim]
  std::vector<float> queries;       // [tokens, group * head_dim + 3]
  std::vector<std::byte> key_cache, value_cache;
  std::vector<float> scratch;

  Case(KvType kv_type, std::size_t width, std::size_t group, std::size_t first, std::size_t token_count,
       std::size_t window, unsigned seed, unsigned char garbage = 0xFF)
      : type(kv_type), head_dim(width), length(first + token_count), tokens(token_count), first_position(first) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    shape.group = group;
    shape.capacity = inlay::KvCapacity(length + 40);
    shape.window = window;
    shape.scale = 1.0f / std::sqrt(static_cast<float>(width));
    keys.resize(length * width);
    values.resize(length * width);
    queries.assign(tokens * query_stride(), NAN);
    for (float& x : keys) x = normal(random);
    for (float& x : values) x = normal(random);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t i = 0; i < group * width; ++i) queries[t * query_stride() + i] = 2 * normal(random);
    }
    // All ones are NaN in every float type: what is not stored must not matter.
    key_cache.assign(inlay::KvKeyBytes(type, width, shape.capacity), std::byte{garbage});
    value_cache.assign(inlay::KvValueBytes(type, width, shape.capacity), std::byte{garbage});
    scratch.resize(inlay::AttentionScratchFloats(width, width), NAN);
  }

  std::size_t query_stride() const { return shape.group * head_dim + 3; }
  std::size_t out_stride() const { return shape.group * head_dim + 5; }

  void Store(std::size_t position) {
    WithType(type, [&](auto t) {
      target::StoreKey<t.value>(key_cache.data(), inlay::DynamicExtent{head_dim}, shape.capacity, position,
                                keys.data() + position * head_dim);
      target::StoreValue<t.value>(value_cache.data(), inlay::DynamicExtent{head_dim}, shape.capacity, position,
                                  values.data() + position * head_dim);
    });
  }
  void StoreUpTo(std::size_t end) {
    for (std::size_t p = 0; p < end; ++p) Store(p);
  }

  template <class HeadDim>
  void Attend(HeadDim width, std::size_t begin, std::size_t end, std::vector<float>& out) {
    WithType(type, [&](auto t) {
      target::AttendTokens<t.value>(shape, key_cache.data(), value_cache.data(), width, width, queries.data(), query_stride(),
                                    first_position, begin, end, out.data(), out_stride(), scratch.data());
    });
  }

  std::vector<float> Whole() {
    StoreUpTo(length);
    std::vector<float> out(tokens * out_stride(), 77.0f);
    Attend(inlay::DynamicExtent{head_dim}, 0, tokens, out);
    return out;
  }

  // The keys or values as the cache holds them. Elements of `block` share a scale.
  std::vector<double> Rounded(const std::vector<float>& x, std::size_t block) const {
    std::vector<double> rounded(x.size());
    for (std::size_t start = 0; start < x.size(); start += std::min(block, head_dim - start % head_dim)) {
      const std::size_t end = start + std::min(block, head_dim - start % head_dim);
      float most = 0, least = 0;
      for (std::size_t i = start; i < end; ++i) {
        most = std::max(most, x[i]);
        least = std::min(least, x[i]);
      }
      for (std::size_t i = start; i < end; ++i) {
        const double value = static_cast<double>(x[i]);
        switch (type) {
          case KvType::kF32: rounded[i] = value; break;
          case KvType::kF16: rounded[i] = static_cast<double>(inlay::F16ToF32(inlay::F32ToF16(x[i]))); break;
          case KvType::kBF16: rounded[i] = static_cast<double>(inlay::BF16ToF32(inlay::F32ToBF16(x[i]))); break;
          case KvType::kQ8: {
            // As specified: nearest integer of 127ths of the largest magnitude; a tie may go either way in float.
            const double unit = static_cast<double>(std::max(most, -least)) / 127;
            rounded[i] = std::nearbyint(value / unit) * unit;
            break;
          }
          case KvType::kQ4: {
            // Nearest of -8 .. 7 eighths of the element of the largest magnitude, which is -8 of them.
            const double unit = static_cast<double>(most >= -least ? most : least) / -8;
            rounded[i] = std::min(7.0, std::nearbyint(value / unit)) * unit;
          }
        }
      }
    }
    return rounded;
  }
  std::vector<double> StoredKeys() const { return Rounded(keys, type == KvType::kQ4 ? 32 : head_dim); }
  std::vector<double> StoredValues() const { return Rounded(values, head_dim); }

  std::vector<double> Oracle(const std::vector<double>& k, const std::vector<double>& v) const {
    std::vector<double> out(tokens * out_stride());
    for (std::size_t t = 0; t < tokens; ++t) {
      const std::size_t position = first_position + t;
      const std::size_t first = shape.window == 0 || position < shape.window ? 0 : position - shape.window + 1;
      for (std::size_t h = 0; h < shape.group; ++h) {
        std::vector<double> scores;
        double largest = -INFINITY, sum = 0;
        for (std::size_t p = first; p <= position; ++p) {
          double dot = 0;
          for (std::size_t i = 0; i < head_dim; ++i) {
            dot += static_cast<double>(queries[t * query_stride() + h * head_dim + i]) * k[p * head_dim + i];
          }
          scores.push_back(dot * static_cast<double>(shape.scale));
          largest = std::max(largest, scores.back());
        }
        for (double& s : scores) sum += s = std::exp(s - largest);
        for (std::size_t i = 0; i < head_dim; ++i) {
          double mixed = 0;
          for (std::size_t p = first; p <= position; ++p) mixed += scores[p - first] * v[p * head_dim + i];
          out[t * out_stride() + h * head_dim + i] = mixed / sum;
        }
      }
    }
    return out;
  }

  double WorstError(const std::vector<float>& out, const std::vector<double>& expected) const {
    double worst = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t i = 0; i < shape.group * head_dim; ++i) {
        const double error = std::fabs(static_cast<double>(out[t * out_stride() + i]) - expected[t * out_stride() + i]);
        worst = error <= worst ? worst : error;  // NaN counts as worst
      }
      for (std::size_t i = shape.group * head_dim; i < out_stride(); ++i) {
        if (out[t * out_stride() + i] != 77.0f) worst = INFINITY;
      }
    }
    return worst;
  }
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_attention)

BOOST_AUTO_TEST_CASE(EqualsNaiveSoftmaxOverTheStoredNumbers) {
  for (const KvType type : kTypes) {
    for (const std::size_t head_dim : {2u, 6u, 8u, 16u, 48u, 64u, 80u, 96u, 128u, 256u}) {
      for (const std::size_t group : {1u, 4u}) {
        for (const std::size_t first : {0u, 250u, 800u}) {
          const std::size_t tokens = first == 0 ? 29 : 8;
          Case c(type, head_dim, group, first, tokens, 0, static_cast<unsigned>(head_dim + first));
          const auto expected = c.Oracle(c.StoredKeys(), c.StoredValues());
          // Scores up to about 8 sigma = 16 in magnitude: their rounding, 16 * sqrt(head_dim) * 2^-24, is the relative
          // error of a weight. Queries in int8 are off by 1/254 of their largest, some 2 / 254 * 3 per element.
          const double bound = inlay::IsInteger(type) ? 0.06 : 1e-5;
          BOOST_TEST(c.WorstError(c.Whole(), expected) < bound,
                     inlay::Name(type) << " head_dim " << head_dim << " group " << group << " first " << first);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(StorageTypesStayWithinTheirErrorOfFloat32) {
  for (const KvType type : kTypes) {
    Case c(type, 64, 2, 700, 9, 0, 5);
    const std::vector<double> keys(c.keys.begin(), c.keys.end()), values(c.values.begin(), c.values.end());
    const double bound = type == KvType::kF32    ? 3e-6
                         : type == KvType::kF16  ? 2e-3
                         : type == KvType::kBF16 ? 1.5e-2
                         : type == KvType::kQ8   ? 4e-2
                                                 : 0.3;
    BOOST_TEST(c.WorstError(c.Whole(), c.Oracle(keys, values)) < bound, inlay::Name(type));
  }
}

// Values that are the first elements of the keys: as if they were stored once more, and the same bits for every split.
BOOST_AUTO_TEST_CASE(ValuesInTheKeys) {
  for (const KvType type : kTypes) {
    for (const std::size_t window : {0u, 100u}) {
      for (const std::size_t value_dim : {5u, 16u, 40u}) {
        Case c(type, 48, 7, 500, 30, window, 31);
        c.values = c.keys;
        c.StoreUpTo(c.length);
        const auto rounded = c.StoredKeys();
        const auto expected = c.Oracle(rounded, rounded);
        const std::size_t stride = c.shape.group * value_dim;
        const inlay::DynamicExtent width{c.head_dim}, values{value_dim};
        c.scratch.assign(inlay::AttentionScratchFloats(c.head_dim, value_dim), NAN);
        const auto attend = [&](std::size_t begin, std::size_t end, std::vector<float>& out) {
          WithType(type, [&](auto t) {
            target::AttendTokens<t.value>(c.shape, c.key_cache.data(), nullptr, width, values, c.queries.data(),
                                          c.query_stride(), c.first_position, begin, end, out.data(), stride, c.scratch.data());
          });
        };
        std::vector<float> whole(c.tokens * stride, NAN), parts = whole, spans = whole;
        attend(0, c.tokens, whole);
        double worst = 0;
        for (std::size_t t = 0; t < c.tokens; ++t) {
          for (std::size_t h = 0; h < c.shape.group; ++h) {
            for (std::size_t i = 0; i < value_dim; ++i) {
              const double error = std::fabs(static_cast<double>(whole[t * stride + h * value_dim + i]) -
                                             expected[t * c.out_stride() + h * c.head_dim + i]);
              worst = error <= worst ? worst : error;
            }
          }
        }
        BOOST_TEST(worst < (inlay::IsInteger(type) ? 0.06 : 1e-5), inlay::Name(type) << " value_dim " << value_dim);
        for (std::size_t t = 0; t < c.tokens; t += 4) attend(t, std::min(t + 4, c.tokens), parts);
        BOOST_TEST(SameBits(parts, whole));
        for (std::size_t t = 0; t < c.tokens; ++t) {
          const std::size_t position = c.first_position + t;
          const inlay::SpanRange range = inlay::AttentionSpans(c.shape, position);
          const std::size_t span_floats = inlay::AttentionPartialFloats(value_dim, c.shape.group, 1);
          std::vector<float> partials(range.size() * span_floats, NAN);
          for (std::size_t s = 0; s < range.size(); ++s) {
            WithType(type, [&](auto k) {
              target::AttendSpans<k.value>(c.shape, c.key_cache.data(), nullptr, width, values,
                                          c.queries.data() + t * c.query_stride(), position,
                                          inlay::SpanRange{range.begin + s, range.begin + s + 1},
                                          partials.data() + s * span_floats, c.scratch.data());
            });
          }
          target::MergeSpans(c.shape, value_dim, range.size(), partials.data(), spans.data() + t * stride);
        }
        BOOST_TEST(SameBits(spans, whole));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(SlidingWindow) {
  for (const KvType type : kTypes) {
    for (const std::size_t window : {1u, 5u, 64u, 100u, 256u, 257u, 700u}) {
      for (const std::size_t first : {0u, 250u, 900u}) {
        Case c(type, 16, 2, first, 40, window, 8);
        const auto expected = c.Oracle(c.StoredKeys(), c.StoredValues());
        BOOST_TEST(c.WorstError(c.Whole(), expected) < (inlay::IsInteger(type) ? 0.06 : 1e-5),
                   inlay::Name(type) << " window " << window << " first " << first);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(EverySplitOfTokensGivesTheSameBitsWhateverLiesBeyond) {
  std::mt19937 random(3);
  for (const KvType type : kTypes) {
    for (const std::size_t head_dim : {8u, 48u, 128u}) {
      for (const std::size_t group : {1u, 4u, 7u, 30u}) {
        for (const std::size_t window : {0u, 90u}) {
          for (const std::size_t first : {0u, 240u, 500u}) {
            constexpr std::size_t kTokens = 31;
            Case whole(type, head_dim, group, first, kTokens, window, 2);
            const auto expected = whole.Whole();
            // Token by token, later positions still garbage of another kind.
            Case single(type, head_dim, group, first, kTokens, window, 2, 0x7F);
            single.StoreUpTo(first);
            std::vector<float> out(expected.size(), 77.0f);
            for (std::size_t t = 0; t < kTokens; ++t) {
              single.Store(first + t);
              single.Attend(inlay::DynamicExtent{head_dim}, t, t + 1, out);
            }
            BOOST_TEST(SameBits(out, expected));
            std::fill(out.begin(), out.end(), 77.0f);
            for (std::size_t t = 0; t < kTokens;) {
              const std::size_t end = std::min<std::size_t>(kTokens, t + 1 + random() % 11);
              whole.Attend(inlay::DynamicExtent{head_dim}, t, end, out);
              t = end;
            }
            BOOST_TEST(SameBits(out, expected));
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(SpansMergedInOrderGiveTheSameBits) {
  for (const KvType type : kTypes) {
    for (const std::size_t head_dim : {8u, 64u, 80u}) {
      for (const std::size_t group : {1u, 4u, 26u}) {
        for (const std::size_t window : {0u, 500u}) {
          for (const std::size_t position : {0u, 255u, 256u, 700u}) {
            Case c(type, head_dim, group, position, 1, window, 6);
            const auto expected = c.Whole();
            const auto spans = inlay::AttentionSpans(c.shape, position);
            std::vector<float> partials(inlay::AttentionPartialFloats(head_dim, group, spans.size()), NAN);
            // Last spans first, two at a time: neither the order of the work nor its division must matter.
            for (std::size_t end = spans.size(); end > 0; end -= std::min<std::size_t>(end, 2)) {
              const std::size_t s = end - std::min<std::size_t>(end, 2);
              WithType(type, [&](auto t) {
                target::AttendSpans<t.value>(c.shape, c.key_cache.data(), c.value_cache.data(),
                                             inlay::DynamicExtent{head_dim}, inlay::DynamicExtent{head_dim},
                                             c.queries.data(), position, inlay::SpanRange{spans.begin + s, spans.begin + end},
                                             partials.data() + s * group * inlay::PartialStride(head_dim),
                                             c.scratch.data());
              });
            }
            std::vector<float> out(expected.size(), 77.0f);
            target::MergeSpans(c.shape, head_dim, spans.size(), partials.data(), out.data());
            BOOST_TEST(SameBits(out, expected));
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(CompileTimeHeadDimGivesTheSameBits) {
  for (const KvType type : kTypes) {
    const auto check = [&](auto head_dim) {
      Case c(type, head_dim, 4, 300, 20, 0, 4);
      const auto expected = c.Whole();
      std::vector<float> out(expected.size(), 77.0f);
      c.Attend(head_dim, 0, 20, out);
      BOOST_TEST(SameBits(out, expected));
    };
    check(inlay::StaticExtent<8>());
    check(inlay::StaticExtent<48>());
    check(inlay::StaticExtent<64>());
    check(inlay::StaticExtent<128>());
  }
}

BOOST_AUTO_TEST_CASE(NonFiniteInputsReachTheOutput) {
  for (const KvType type : kTypes) {
    for (const bool in_key : {true, false}) {
      Case c(type, 16, 2, 600, 1, 0, 4);
      (in_key ? c.keys : c.values)[300 * 16 + 3] = NAN;
      const auto out = c.Whole();
      BOOST_TEST(std::isnan(out[3]), inlay::Name(type) << " " << in_key);
    }
    Case c(type, 16, 1, 600, 1, 0, 4);
    c.queries[5] = NAN;
    BOOST_TEST(std::isnan(c.Whole()[0]), inlay::Name(type));
  }
}

BOOST_AUTO_TEST_CASE(HugeScoresDoNotOverflow) {
  for (const KvType type : kTypes) {
    Case c(type, 16, 1, 600, 2, 0, 4);
    for (float& q : c.queries) q *= 1e4f;
    // One key wins: the output is its value.
    const auto expected = c.Oracle(c.StoredKeys(), c.StoredValues());
    if (inlay::IsInteger(type)) {
      for (const float x : c.Whole()) BOOST_TEST(std::isfinite(x));
    } else {
      BOOST_TEST(c.WorstError(c.Whole(), expected) < 1e-2, inlay::Name(type));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
