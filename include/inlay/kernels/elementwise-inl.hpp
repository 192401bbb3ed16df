// What happens between matrix products, element by element or over one row: norms, activations, softmax, rotation.
//
// Every function works on one row, so results cannot depend on how rows are split. Sums run over 16 lanes (four
// interleaved groups of them where it is faster) and fold in one fixed order on every target.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"

#if defined(INLAY_KERNELS_ELEMENTWISE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#undef INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#else
#define INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#endif

#include "inlay/kernels/float_lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// exp(x) = 2^n (1 + p(b)) with b = x - n ln 2 in [-ln 2 / 2, ln 2 / 2]: returns p(b), which is e^b - 1, and n as
// 12582912 + n (the integer sits in the low mantissa bits). The polynomial of degree 5 was fitted for the least relative
// error in float32. Relative error of the whole: at most 1.9e-7, 1.6 units in the last place.
HWY_INLINE Lanes16 ExpReduced16(const Lanes16& x, Lanes16& shifted) {
  const Lanes16 shift = Set16(12582912.0f);
  shifted = MulAdd16(x, Set16(1.44269504f), shift);
  const Lanes16 n = Sub16(shifted, shift);
  // ln 2 in two parts: n times the first is exact.
  const Lanes16 b = MulAdd16(n, Set16(-1.42860677e-6f), MulAdd16(n, Set16(-0.693145752f), x));
  const Lanes16 square = Mul16(b, b);
  const Lanes16 high = MulAdd16(Set16(0x1.0e4020p-7f), b, Set16(0x1.573e2ep-5f));
  const Lanes16 middle = MulAdd16(Set16(0x1.555e66p-3f), b, Set16(0x1.fffdb6p-2f));
  return MulAdd16(MulAdd16(high, square, middle), square, Mul16(Set16(0x1.ffffecp-1f), b));
}

}  // namespace detail

// e^x for x <= 0; below -87.3 the result stays at e^-87.3 (1.2e-38). NaN stays NaN.
HWY_INLINE Lanes16 ExpNegative16(const Lanes16& x) {
  Lanes16 shifted;
  const Lanes16 p = detail::ExpReduced16(Max16(Set16(-87.3f), x), shifted);
  const Lanes16 power = PowerOfTwo16(shifted);
  return MulAdd16(power, p, power);
}

// e^x for any x: infinity above 88.8, smaller than the least normal number below -87.4, 0 below -104. NaN stays NaN.
HWY_INLINE Lanes16 Exp16(const Lanes16& x) {
  Lanes16 shifted;
  const Lanes16 p = detail::ExpReduced16(Max16(Set16(-105.0f), Min16(Set16(90.0f), x)), shifted);
  // Two factors: 2^n alone is no float for n = 128 or n < -126.
  const Lanes16 shift = Set16(12582912.0f);
  const Lanes16 half = MulAdd16(Sub16(shifted, shift), Set16(0.5f), shift);
  const Lanes16 rest = Add16(Sub16(shifted, half), shift);
  const Lanes16 power = PowerOfTwo16(half);
  return Mul16(MulAdd16(power, p, power), PowerOfTwo16(rest));
}

// 1 / (1 + e^-x), without overflow for any x.
HWY_INLINE Lanes16 Sigmoid16(const Lanes16& x) {
  const Lanes16 one = Set16(1.0f);
  const Lanes16 e = ExpNegative16(Sub16(Set16(0.0f), Abs16(x)));
  return Div16(IfNegative16(x, e, one), Add16(one, e));
}

// (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x: tanh, to 1e-7 (absolute).
HWY_INLINE Lanes16 Tanh16(const Lanes16& x) {
  const Lanes16 one = Set16(1.0f), zero = Set16(0.0f);
  const Lanes16 e = ExpNegative16(Mul16(Set16(-2.0f), Abs16(x)));
  const Lanes16 magnitude = Div16(Sub16(one, e), Add16(one, e));
  return IfNegative16(x, Sub16(zero, magnitude), magnitude);
}

// Calls f(index, count) for 16 elements at a time; count is below 16 only in the last call.
template <class F>
HWY_INLINE void ForEach16(std::size_t n, F f) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, std::size_t{16});
  if (i < n) f(i, n - i);
}
HWY_INLINE Lanes16 LoadUpTo16(const float* from, std::size_t count) {
  return HWY_LIKELY(count == 16) ? Load16(from) : LoadPart16(from, count);
}
HWY_INLINE void StoreUpTo16(const Lanes16& value, float* to, std::size_t count) {
  if (HWY_LIKELY(count == 16)) {
    Store16(value, to);
  } else {
    StorePart16(value, to, count);
  }
}

// Sum of squares of n values: four groups of 16 lanes by index modulo 64, then (0 + 1) + (2 + 3), then the lanes.
inline float SumOfSquares(const float* x, std::size_t n) {
  Lanes16 sum0 = Set16(0.0f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const Lanes16 a = Load16(x + i), b = Load16(x + i + 16), c = Load16(x + i + 32), e = Load16(x + i + 48);
    sum0 = MulAdd16(a, a, sum0);
    sum1 = MulAdd16(b, b, sum1);
    sum2 = MulAdd16(c, c, sum2);
    sum3 = MulAdd16(e, e, sum3);
  }
  for (; i < n; i += 16) {
    const Lanes16 a = LoadUpTo16(x + i, n - i < 16 ? n - i : 16);
    sum0 = MulAdd16(a, a, sum0);
  }
  return Sum16(Add16(Add16(sum0, sum1), Add16(sum2, sum3)));
}

// Sum of products of n values: 16 lanes by index modulo 16, then the lanes.
inline float Dot(const float* a, const float* b, std::size_t n) {
  Lanes16 sum = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    sum = MulAdd16(LoadUpTo16(a + i, count), LoadUpTo16(b + i, count), sum);
  });
  return Sum16(sum);
}

// 1 / sqrt(mean(x^2) + epsilon).
inline float RmsScale(const float* x, std::size_t n, float epsilon) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  return 1.0f / std::sqrt(mean + epsilon);
}

// out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]. out may be x.
// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", https://arxiv.org/abs/1910.07467.
inline void RmsNorm(const float* x, const float* weight, std::size_t n, float epsilon, float* out) {
  const Lanes16 scale = Set16(RmsScale(x, n, epsilon));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(Mul16(LoadUpTo16(x + i, count), scale), LoadUpTo16(weight + i, count)), out + i, count);
  });
}

// The same without a weight.
inline void RmsNorm(const float* x, std::size_t n, float epsilon, float* out) {
  const Lanes16 scale = Set16(RmsScale(x, n, epsilon));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(LoadUpTo16(x + i, count), scale), out + i, count);
  });
}

// out[i] = factor * x[i] / sqrt(sum of x^2 + epsilon). out may be x.
inline void UnitNorm(const float* x, std::size_t n, float epsilon, float factor, float* out) {
  const Lanes16 scale = Set16(factor / std::sqrt(SumOfSquares(x, n) + epsilon));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(LoadUpTo16(x + i, count), scale), out + i, count);
  });
}

// out[i] = (x[i] - mean) / sqrt(variance + epsilon) * weight[i] + bias[i]; bias may be nullptr. out may be x.
// Source: Ba, Kiros and Hinton 2016, "Layer Normalization", https://arxiv.org/abs/1607.06450.
inline void LayerNorm(const float* x, const float* weight, const float* bias, std::size_t n, float epsilon, float* out) {
  Lanes16 sum = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR { sum = Add16(sum, LoadUpTo16(x + i, count)); });
  const Lanes16 mean = Set16(Sum16(sum) / static_cast<float>(n));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Sub16(LoadUpTo16(x + i, count), mean), out + i, count);
  });
  const Lanes16 scale = Set16(RmsScale(out, n, epsilon));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = Mul16(LoadUpTo16(out + i, count), scale), gain = LoadUpTo16(weight + i, count);
    const Lanes16 shifted = bias == nullptr ? Mul16(value, gain) : MulAdd16(value, gain, LoadUpTo16(bias + i, count));
    StoreUpTo16(shifted, out + i, count);
  });
}

// sum[i] += x[i].
inline void AddResidual(const float* x, std::size_t n, float* sum) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Add16(LoadUpTo16(sum + i, count), LoadUpTo16(x + i, count)), sum + i, count);
  });
}

// sum[i] += factor * x[i].
inline void AddScaled(const float* x, float factor, std::size_t n, float* sum) {
  const Lanes16 scale = Set16(factor);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(MulAdd16(LoadUpTo16(x + i, count), scale, LoadUpTo16(sum + i, count)), sum + i, count);
  });
}

// x[i] *= factor.
inline void Scale(float factor, std::size_t n, float* x) {
  const Lanes16 scale = Set16(factor);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(LoadUpTo16(x + i, count), scale), x + i, count);
  });
}

// x[i] = cap tanh(x[i] / cap).
inline void SoftCap(float cap, std::size_t n, float* x) {
  const Lanes16 factor = Set16(cap), inverse = Set16(1.0f / cap);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(factor, Tanh16(Mul16(LoadUpTo16(x + i, count), inverse))), x + i, count);
  });
}

// x[i] = max(0, x[i] - (mean + deviations * standard deviation)), both over the n >= 2 values, the deviation of a sample (its
// sum of squares divided by n - 1). Of normally distributed values, few stay.
// Source: Gemma 3n's reference code (activation sparsity).
inline void KeepLargest(float deviations, std::size_t n, float* x) {
  Lanes16 sum = Set16(0.0f), squares = sum;
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR { sum = Add16(sum, LoadUpTo16(x + i, count)); });
  const Lanes16 mean = Set16(Sum16(sum) / static_cast<float>(n));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 centered = Sub16(LoadUpTo16(x + i, count), mean);
    const Lanes16 counted = count == 16 ? centered : KeepRange16(centered, 0, count, 0.0f);
    squares = MulAdd16(counted, counted, squares);
  });
  const Lanes16 cutoff = MulAdd16(Set16(deviations), Set16(std::sqrt(Sum16(squares) / static_cast<float>(n - 1))), mean);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Max16(Set16(0.0f), Sub16(LoadUpTo16(x + i, count), cutoff)), x + i, count);
  });
}

// Activations of a feed-forward network, 16 at a time.
struct Silu16 {  // x / (1 + e^-x)
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const { return Mul16(x, Sigmoid16(x)); }
};
// x / 2 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2 u).
// Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", https://arxiv.org/abs/1606.08415.
struct Gelu16 {
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const {
    const Lanes16 cubic = MulAdd16(Mul16(Mul16(x, x), x), Set16(0.044715f), x);
    return Mul16(x, Sigmoid16(Mul16(cubic, Set16(1.59576912f))));
  }
};
// x / 2 (1 + erf(x / sqrt(2))). erf by Abramowitz and Stegun 7.1.26: within 2e-7 (absolute).
struct GeluErf16 {
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const {
    const Lanes16 one = Set16(1.0f), half = Set16(0.5f);
    const Lanes16 z = Mul16(Abs16(x), Set16(0.707106781f));
    const Lanes16 t = Div16(one, MulAdd16(z, Set16(0.3275911f), one));
    Lanes16 p = MulAdd16(Set16(1.061405429f), t, Set16(-1.453152027f));
    p = MulAdd16(p, t, Set16(1.421413741f));
    p = MulAdd16(p, t, Set16(-0.284496736f));
    p = MulAdd16(p, t, Set16(0.254829592f));
    // (1 - erf |z|) / 2
    const Lanes16 tail = Mul16(half, Mul16(Mul16(p, t), ExpNegative16(Sub16(Set16(0.0f), Mul16(z, z)))));
    return Mul16(x, IfNegative16(x, tail, Sub16(one, tail)));
  }
};
struct Identity16 {  // x
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const { return x; }
};
struct Logistic16 {  // 1 / (1 + e^-x)
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const { return Sigmoid16(x); }
};
struct ReluSquared16 {  // max(x, 0)^2
  HWY_INLINE Lanes16 operator()(const Lanes16& x) const {
    const Lanes16 positive = Max16(Set16(0.0f), x);
    return Mul16(positive, positive);
  }
};

// out[i] = activation(x[i]). out may be x.
template <class Activate16>
HWY_INLINE void Activate(const float* x, std::size_t n, float* out) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Activate16()(LoadUpTo16(x + i, count)), out + i, count);
  });
}

// out[i] = activation(gate[i]) * up[i]. out may be gate or up.
// Source: Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202.
template <class Activate16>
HWY_INLINE void ActivateMultiply(const float* gate, const float* up, std::size_t n, float* out) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 x = LoadUpTo16(gate + i, count);
    StoreUpTo16(Mul16(Activate16()(x), LoadUpTo16(up + i, count)), out + i, count);
  });
}
inline void SiluMultiply(const float* gate, const float* up, std::size_t n, float* out) {
  ActivateMultiply<Silu16>(gate, up, n, out);
}

// With g = min(gate[i], limit) and u = clamp(up[i], -limit, limit): out[i] = g sigmoid(alpha g) (u + 1). out may be gate
// or up. Source: gpt-oss's reference code (alpha 1.702, limit 7).
inline void ClampedSiluMultiply(const float* gate, const float* up, float alpha, float limit, std::size_t n, float* out) {
  const Lanes16 most = Set16(limit), least = Set16(-limit), one = Set16(1.0f), slope = Set16(alpha);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 g = Min16(most, LoadUpTo16(gate + i, count));
    const Lanes16 u = Max16(least, Min16(most, LoadUpTo16(up + i, count)));
    StoreUpTo16(Mul16(Mul16(g, Sigmoid16(Mul16(slope, g))), Add16(u, one)), out + i, count);
  });
}

// out[i] = e^x[i]. out may be x.
inline void Exp(const float* x, std::size_t n, float* out) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Exp16(LoadUpTo16(x + i, count)), out + i, count);
  });
}

// The largest of n >= 1 values. What it gives when there are NaNs is not specified.
inline float Largest(const float* x, std::size_t n) {
  Lanes16 largest = Set16(x[0]);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = count == 16 ? Load16(x + i) : KeepRange16(LoadPart16(x + i, count), 0, count, x[0]);
    largest = Max16(largest, value);
  });
  return Largest16(largest);
}

// x[i] = e^(x[i] - largest) / sum, in place, n >= 1; the probabilities sum to 1 within rounding.
inline void Softmax(float* x, std::size_t n) {
  const Lanes16 largest = Set16(Largest(x, n));
  Lanes16 sum = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 e = ExpNegative16(Sub16(LoadUpTo16(x + i, count), largest));
    sum = Add16(sum, count == 16 ? e : KeepRange16(e, 0, count, 0.0f));
    StoreUpTo16(e, x + i, count);
  });
  const Lanes16 scale = Set16(1.0f / Sum16(sum));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(LoadUpTo16(x + i, count), scale), x + i, count);
  });
}

// Rotates one head in place by a table of RopeTable (rope.hpp): the first 2 * half values; the rest stays.
// Pairs: elements 2 i and 2 i + 1 turn together (the order of Llama models in GGUF files and llama2.c checkpoints).
inline void RotatePairs(const float* cos_sin, std::size_t half, float* x) {
  ForEach16(2 * half, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(ComplexMul16(LoadUpTo16(x + i, count), LoadUpTo16(cos_sin + i, count)), x + i, count);
  });
}
// Halves: elements i and i + half turn together (the order of most later families).
inline void RotateHalves(const float* cos_sin, std::size_t half, float* x) {
  ForEach16(half, [&](std::size_t i, std::size_t count) HWY_ATTR {
    alignas(64) float lower[32] = {};
    for (std::size_t j = 0; j < count; ++j) {
      lower[2 * j] = x[i + j];
      lower[2 * j + 1] = x[i + j + half];
    }
    alignas(64) float turned[32];
    Store16(ComplexMul16(Load16(lower), LoadUpTo16(cos_sin + 2 * i, 2 * count < 16 ? 2 * count : 16)), turned);
    if (count > 8) {
      Store16(ComplexMul16(Load16(lower + 16), LoadUpTo16(cos_sin + 2 * i + 16, 2 * count - 16)), turned + 16);
    }
    for (std::size_t j = 0; j < count; ++j) {
      x[i + j] = turned[2 * j];
      x[i + j + half] = turned[2 * j + 1];
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
