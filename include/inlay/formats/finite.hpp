// Finds NaN and infinity in weights, without decoding them: in a quantised block only the scales can be non-finite.
#ifndef INLAY_FORMATS_FINITE_HPP_
#define INLAY_FORMATS_FINITE_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "inlay/core/macros.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/weight_type.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr std::size_t kAllFinite = std::numeric_limits<std::size_t>::max();

namespace detail {

// The byte of the first number of type Bits, `at` in each block of `stride` bytes, whose exponent bits are all set.
template <class Bits>
std::size_t FindFullExponent(std::span<const std::byte> data, std::size_t stride, std::size_t at, Bits exponent) {
  for (std::size_t i = at; i + sizeof(Bits) <= data.size(); i += stride) {
    Bits bits = 0;
    std::memcpy(&bits, data.data() + i, sizeof(Bits));
    if ((bits & exponent) == exponent) return i;
  }
  return kAllFinite;
}

}  // namespace detail

// The byte offset in `data` (whole blocks of `type`) of a value or scale that is NaN or infinite; kAllFinite when there
// is none. Integers are finite.
inline std::size_t FindNonFinite(WeightType type, std::span<const std::byte> data) {
  constexpr std::uint16_t kF16Exponent = 0x7C00;
  const auto in_blocks = [&](std::size_t stride, std::size_t at) {
    return detail::FindFullExponent<std::uint16_t>(data, stride, at, kF16Exponent);
  };
  const auto first_of = [](std::size_t a, std::size_t b) { return a < b ? a : b; };
  switch (type) {
    case WeightType::kF32: return detail::FindFullExponent<std::uint32_t>(data, 4, 0, 0x7F800000u);
    case WeightType::kBF16: return detail::FindFullExponent<std::uint16_t>(data, 2, 0, std::uint16_t{0x7F80});
    case WeightType::kF16: return in_blocks(2, 0);
    case WeightType::kQ8_0: return in_blocks(sizeof(BlockQ8_0), offsetof(BlockQ8_0, d));
    case WeightType::kQ4_0: return in_blocks(sizeof(BlockQ4_0), offsetof(BlockQ4_0, d));
    case WeightType::kQ5_0: return in_blocks(sizeof(BlockQ5_0), offsetof(BlockQ5_0, d));
    case WeightType::kIQ4_NL: return in_blocks(sizeof(BlockIQ4_NL), offsetof(BlockIQ4_NL, d));
    case WeightType::kQ3_K: return in_blocks(sizeof(BlockQ3_K), offsetof(BlockQ3_K, d));
    case WeightType::kQ6_K: return in_blocks(sizeof(BlockQ6_K), offsetof(BlockQ6_K, d));
    case WeightType::kIQ4_XS: return in_blocks(sizeof(BlockIQ4_XS), offsetof(BlockIQ4_XS, d));
    case WeightType::kTQ1_0: return in_blocks(sizeof(BlockTQ1_0), offsetof(BlockTQ1_0, d));
    case WeightType::kTQ2_0: return in_blocks(sizeof(BlockTQ2_0), offsetof(BlockTQ2_0, d));
    case WeightType::kMXFP4:
      // 255 is the format's NaN; with 253 and 254 the larger levels are beyond a float.
      for (std::size_t i = offsetof(BlockMXFP4, e); i < data.size(); i += sizeof(BlockMXFP4)) {
        if (static_cast<std::uint8_t>(data[i]) > kMostMxfp4Exponent) return i;
      }
      return kAllFinite;
    case WeightType::kQ2_K:
      return first_of(in_blocks(sizeof(BlockQ2_K), offsetof(BlockQ2_K, d)),
                      in_blocks(sizeof(BlockQ2_K), offsetof(BlockQ2_K, dmin)));
    case WeightType::kQ4_1:
      return first_of(in_blocks(sizeof(BlockQ4_1), offsetof(BlockQ4_1, d)),
                      in_blocks(sizeof(BlockQ4_1), offsetof(BlockQ4_1, m)));
    case WeightType::kQ5_1:
      return first_of(in_blocks(sizeof(BlockQ5_1), offsetof(BlockQ5_1, d)),
                      in_blocks(sizeof(BlockQ5_1), offsetof(BlockQ5_1, m)));
    case WeightType::kQ4_K:
      return first_of(in_blocks(sizeof(BlockQ4_K), offsetof(BlockQ4_K, d)),
                      in_blocks(sizeof(BlockQ4_K), offsetof(BlockQ4_K, dmin)));
    case WeightType::kQ5_K:
      return first_of(in_blocks(sizeof(BlockQ5_K), offsetof(BlockQ5_K, d)),
                      in_blocks(sizeof(BlockQ5_K), offsetof(BlockQ5_K, dmin)));
    case WeightType::kI8: break;
  }
  return kAllFinite;
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_FINITE_HPP_
