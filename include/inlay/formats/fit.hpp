// How an encoder finds scales and levels: searches for the smallest squared error. What the results mean in a file is
// codec.hpp's; apart because decoding, which every program does, needs none of it.
#ifndef INLAY_FORMATS_FIT_HPP_
#define INLAY_FORMATS_FIT_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/float16.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

// Nearest integer, ties to even, for |value| < 2^22. Adding 1.5 * 2^23 leaves the integer in the low mantissa bits;
// reading them as bits keeps it right under -ffast-math, where adding and subtracting would cancel.
inline int NearestInt(float value) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(value + 12582912.0f) & 0x7FFFFFu) - 0x400000;
}

// NaN gives low.
inline float Clamp(float value, float low, float high) { return value > low ? (value < high ? value : high) : low; }

// The level of `value` among low .. high.
inline int Level(float value, int low, int high) {
  return NearestInt(Clamp(value, static_cast<float>(low), static_cast<float>(high)));
}

// With a scale of zero every value gets the level of zero.
inline float Inverse(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

inline float Magnitude(float x) { return x < 0 ? -x : x; }

// The value of largest magnitude, with its sign; the first of equals.
inline float Extreme(const float* x, int count) {
  float extreme = 0.0f;
  for (int i = 0; i < count; ++i) {
    if (Magnitude(x[i]) > Magnitude(extreme)) extreme = x[i];
  }
  return extreme;
}

// --- grids: the levels that a scaled value can have ---

// Index: the number of the nearest level as it is stored. Value: that level itself.

// The integers low .. high.
struct EvenGrid {
  int low;
  int high;
  int Index(float scaled) const { return Level(scaled, low, high) - low; }
  int Value(float scaled) const { return Level(scaled, low, high); }
};

// kIq4Levels. All midpoints between levels are multiples of 1/2: a table over half units is exact.
struct Iq4Grid {
  static constexpr auto kNearest = [] {
    std::array<std::uint8_t, 481> nearest{};
    for (std::size_t i = 0; i < nearest.size(); ++i) {
      const int twice = 2 * static_cast<int>(i) + 1 - 4 * 127;  // four times the middle of the half unit
      std::uint8_t best = 0;
      for (std::uint8_t j = 1; j < 16; ++j) {
        const int distance = twice - 4 * kIq4Levels[j], of_best = twice - 4 * kIq4Levels[best];
        if (distance * distance < of_best * of_best) best = j;
      }
      nearest[i] = best;
    }
    return nearest;
  }();
  int Index(float scaled) const {
    return kNearest[static_cast<std::size_t>(2.0f * (Clamp(scaled, -127.0f, 113.0f) + 127.0f))];
  }
  int Value(float scaled) const { return kIq4Levels[Index(scaled)]; }
};

// kMxfp4Levels, whose midpoints are multiples of 1/2 too.
struct Mxfp4Grid {
  static constexpr std::uint8_t kNearest[25] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7};
  int Index(float scaled) const {
    const int index = kNearest[static_cast<std::size_t>(2.0f * Clamp(Magnitude(scaled), 0.0f, 12.0f))];
    return scaled < 0.0f && index != 0 ? index + 8 : index;
  }
  int Value(float scaled) const { return kMxfp4Levels[Index(scaled)]; }
};

// Sums over `count` (a multiple of 4) values: sum f(0), f(1), ... in double, so that no input overflows, and in four parts,
// because each addition waits for the one before.
template <class Term>
double SumOf(int count, Term&& term) {
  double sums[4] = {};
  for (int i = 0; i < count; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += term(i + j);
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Squared error of x against scale * level + base with the nearest levels.
template <class Grid>
double ErrorOf(const float* x, int count, float scale, float base, const Grid& grid) {
  const float inverse = Inverse(scale);
  return SumOf(count, [&](int i) {
    const int q = grid.Value(inverse * (x[i] - base));
    const double difference = static_cast<double>(scale * static_cast<float>(q) + base) - static_cast<double>(x[i]);
    return difference * difference;
  });
}

// --- one scale, symmetric levels ---

// The best scale so far, and by how much it lowers the squared error: that is sum x^2 - gain.
struct ScaleSearch {
  float scale = 0.0f;
  double gain = 0.0;

  // Rounds to levels with a trial scale (its inverse), and solves for the best scale of these levels.
  template <class Grid>
  void Try(const float* x, int count, float inverse, const Grid& grid) {
    int sum_qq = 0;
    const double sum_qx = SumOf(count, [&](int i) {
      const int q = grid.Value(inverse * x[i]);
      sum_qq += q * q;
      return static_cast<double>(q) * static_cast<double>(x[i]);
    });
    const double trial = sum_qq == 0 ? 0.0 : sum_qx * sum_qx / sum_qq;
    if (trial > gain) {
      gain = trial;
      scale = static_cast<float>(sum_qx / sum_qq);
    }
  }
};

// The scale s that makes s * q, q in -reach .. reach - 1, closest to x in the least-squares sense: trial scales around the
// one that maps the extreme value to -reach. The sign of s lets the extreme value use the longer side.
inline float FitScale(const float* x, int count, int reach) {
  const float extreme = Extreme(x, count);
  ScaleSearch search;
  if (extreme == 0.0f) return 0.0f;
  for (int step = -9; step <= 9; ++step) {
    search.Try(x, count, -(static_cast<float>(reach) + 0.1f * static_cast<float>(step)) / extreme,
               EvenGrid{-reach, reach - 1});
  }
  return search.scale;
}

// The same for kIq4Levels: the extreme value may go to either end.
inline float FitIq4Scale(const float* x, int count) {
  const float extreme = Extreme(x, count);
  ScaleSearch search;
  if (extreme == 0.0f) return 0.0f;
  for (const float end : {-127.0f, 113.0f}) {
    for (int step = -9; step <= 9; ++step) {
      search.Try(x, count, end * (1.0f + 0.015f * static_cast<float>(step)) / extreme, Iq4Grid{});
    }
  }
  return search.scale;
}

// The scale s > 0 that makes s * q, q in -1 .. 1, closest to x: exactly. If the k largest magnitudes are not zero, s is
// their mean and the error falls by k * s^2.
inline float FitTernaryScale(const float* x, int count) {
  float sorted[256];
  for (int i = 0; i < count; ++i) sorted[i] = Magnitude(x[i]);
  std::sort(sorted, sorted + count, [](float a, float b) { return a > b; });
  double sum = 0.0, best_gain = 0.0, best = 0.0;
  for (int i = 0; i < count; ++i) {
    sum += static_cast<double>(sorted[i]);
    const double gain = sum * sum / (i + 1);
    if (gain > best_gain) {
      best_gain = gain;
      best = sum / (i + 1);
    }
  }
  return static_cast<float>(best);
}

// The integer sub-scales of a block whose groups are best scaled by `fits`: d * scales[g], scales in low .. high, and d
// such that the extreme fit has the integer `low`. Rounding to the nearest is not always best: its neighbours are tried.
template <int kGroups, class Grid>
std::uint16_t ChooseScales(const float* x, const float (&fits)[kGroups], int low, int high, const Grid& grid,
                           int (&scales)[kGroups]) {
  constexpr int kSize = 256 / kGroups;
  const std::uint16_t bits = F32ToF16Saturated(Extreme(fits, kGroups) / static_cast<float>(low));
  const float d = F16ToF32(bits);
  const float inverse = Inverse(d);
  for (int g = 0; g < kGroups; ++g) {
    const float* group = x + kSize * g;
    const int nearest = Level(inverse * fits[g], low, high);
    scales[g] = nearest;
    double best_error = ErrorOf(group, kSize, d * static_cast<float>(nearest), 0.0f, grid);
    for (const int s : {nearest - 1, nearest + 1}) {
      if (s < low || s > high) continue;
      const double error = ErrorOf(group, kSize, d * static_cast<float>(s), 0.0f, grid);
      if (error < best_error) {
        best_error = error;
        scales[g] = s;
      }
    }
  }
  return bits;
}

// --- scale and base ---

struct Affine {
  float scale;  // >= 0
  float base;   // value of level 0
};

// The affine map level -> scale * level + base, levels 0 .. top, closest to x in the least-squares sense; grid of trial
// scales as FitScale. With base_at_most_zero (K-quants store -base as an unsigned number) the base is held at 0 where
// it would be positive.
inline Affine FitAffine(const float* x, int count, int top, bool base_at_most_zero) {
  float low = x[0], high = x[0];
  for (int i = 1; i < count; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  if (base_at_most_zero && low > 0.0f) low = 0.0f;
  // In double: high - low may overflow a float.
  const double range = static_cast<double>(high) - static_cast<double>(low);
  double sum_x = 0.0, sum_xx = 0.0;
  for (int i = 0; i < count; ++i) {
    sum_x += static_cast<double>(x[i]);
    sum_xx += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  Affine best{static_cast<float>(range / top), low};
  if (best.scale == 0.0f) return best;
  double best_error = -1.0;
  for (int step = -10; step <= 10; ++step) {
    const float inverse = static_cast<float>((top + 0.1 * step) / range);
    int sum_q = 0, sum_qq = 0;
    const double sum_qx = SumOf(count, [&](int i) {
      const int q = Level(inverse * (x[i] - low), 0, top);
      sum_q += q;
      sum_qq += q * q;
      return static_cast<double>(q) * static_cast<double>(x[i]);
    });
    const double determinant = static_cast<double>(count) * sum_qq - static_cast<double>(sum_q) * sum_q;
    if (determinant <= 0.0) continue;
    double scale = (count * sum_qx - sum_q * sum_x) / determinant;
    double base = (sum_qq * sum_x - sum_q * sum_qx) / determinant;
    if (base_at_most_zero && base > 0.0) {
      base = 0.0;
      scale = sum_qx / sum_qq;
    }
    const double error = sum_xx + scale * scale * sum_qq + count * base * base +
                         2.0 * (scale * base * sum_q - scale * sum_qx - base * sum_x);
    if (scale > 0.0 && (best_error < 0.0 || error < best_error)) {
      best_error = error < 0.0 ? 0.0 : error;
      best = {static_cast<float>(scale), static_cast<float>(base)};
    }
  }
  return best;
}

// Levels of `count` values for x = scale * level + base, with the scale and base as they are stored.
inline void AffineLevels(const float* x, int count, float scale, float base, int top, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) levels[i] = static_cast<std::uint8_t>(Level(inverse * (x[i] - base), 0, top));
}
// The same for x = scale * level on a grid: the levels' indices.
template <class Grid>
void GridLevels(const float* x, int count, float scale, const Grid& grid, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) levels[i] = static_cast<std::uint8_t>(grid.Index(inverse * x[i]));
}

// Scales, mins and levels of a block of 256 values = d * scale * level - dmin * min.
template <int kGroups>
struct GroupedLevels {
  std::uint16_t d = 0;
  std::uint16_t dmin = 0;
  std::uint8_t scale[kGroups] = {};
  std::uint8_t min[kGroups] = {};
  std::uint8_t levels[256] = {};
};

// Levels 0 .. top; scales and mins 0 .. most. Each group is fitted alone, then integers for scale and min are chosen near
// the fit, and d and dmin solved for again with what was chosen, as long as that helps.
template <int kGroups>
void EncodeGroups(const float* x, int top, int most, GroupedLevels<kGroups>& out) {
  constexpr int kSize = 256 / kGroups;
  constexpr int kMostRounds = 4;
  Affine fits[kGroups];
  double d = 0.0, dmin = 0.0;
  for (int g = 0; g < kGroups; ++g) {
    fits[g] = FitAffine(x + kSize * g, kSize, top, true);
    d = std::max(d, static_cast<double>(fits[g].scale) / most);
    dmin = std::max(dmin, -static_cast<double>(fits[g].base) / most);
  }
  double best_error = -1.0;
  for (int round = 0; round < kMostRounds; ++round) {
    GroupedLevels<kGroups> trial;
    trial.d = F32ToF16Saturated(static_cast<float>(d));
    trial.dmin = F32ToF16Saturated(static_cast<float>(dmin));
    const float stored_d = F16ToF32(trial.d), stored_dmin = F16ToF32(trial.dmin);
    const float inverse_d = Inverse(stored_d), inverse_dmin = Inverse(stored_dmin);
    double error = 0.0;
    // Normal equations of d and dmin, with a = scale * level and b = min.
    double aa = 0.0, ab = 0.0, bb = 0.0, ax = 0.0, bx = 0.0;
    for (int g = 0; g < kGroups; ++g) {
      const float* group = x + kSize * g;
      const int scale = Level(inverse_d * fits[g].scale, 0, most);
      const int min = Level(inverse_dmin * -fits[g].base, 0, most);
      int best_scale = scale, best_min = min;
      double best_of_group = -1.0;
      for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, most); ++s) {
        for (int m = std::max(min - 1, 0); m <= std::min(min + 1, most); ++m) {
          const double of_group = ErrorOf(group, kSize, stored_d * static_cast<float>(s),
                                          -stored_dmin * static_cast<float>(m), EvenGrid{0, top});
          if (best_of_group < 0.0 || of_group < best_of_group) {
            best_of_group = of_group;
            best_scale = s;
            best_min = m;
          }
        }
      }
      error += best_of_group;
      trial.scale[g] = static_cast<std::uint8_t>(best_scale);
      trial.min[g] = static_cast<std::uint8_t>(best_min);
      std::uint8_t* levels = trial.levels + kSize * g;
      AffineLevels(group, kSize, stored_d * static_cast<float>(best_scale), -stored_dmin * static_cast<float>(best_min), top,
                   levels);
      for (int i = 0; i < kSize; ++i) {
        const double a = best_scale * levels[i], b = best_min, value = static_cast<double>(group[i]);
        aa += a * a;
        ab += a * b;
        bb += b * b;
        ax += a * value;
        bx += b * value;
      }
    }
    if (best_error >= 0.0 && error >= best_error) return;
    best_error = error;
    out = trial;
    const double determinant = aa * bb - ab * ab;
    if (determinant > 0.0) {
      d = (ax * bb - bx * ab) / determinant;
      dmin = (ax * ab - bx * aa) / determinant;
    } else if (aa > 0.0) {
      d = ax / aa;
    }
    if (!(d > 0.0) || dmin < 0.0) return;
  }
}

// The exponent of an MXFP4 block that gives the smallest squared error: that of a scale which maps the extreme value to 8
// .. 16 (the largest levels are 8 and 12), or a neighbour. Not below 2: the inverse of the scale must be finite.
inline std::uint8_t FitMxfp4Exponent(const float* x, int count) {
  // The extreme value is 2^(exponent - 127) or more, the scale 2^(e - 128).
  const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(Magnitude(Extreme(x, count))) >> 23);
  const int usual = std::clamp(exponent - 2, 2, int{kMostMxfp4Exponent});
  int best = usual;
  double best_error = ErrorOf(x, count, Mxfp4Scale(static_cast<std::uint8_t>(usual)), 0.0f, Mxfp4Grid{});
  for (const int e : {usual - 1, usual + 1}) {
    if (e < 2 || e > kMostMxfp4Exponent) continue;
    const double error = ErrorOf(x, count, Mxfp4Scale(static_cast<std::uint8_t>(e)), 0.0f, Mxfp4Grid{});
    if (error < best_error) {
      best_error = error;
      best = e;
    }
  }
  return static_cast<std::uint8_t>(best);
}

}  // namespace detail

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_FIT_HPP_
