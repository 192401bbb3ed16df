// The weight types of GGUF: names, numbers on disk and block sizes. The one table every other part looks things up in.
// Source: ggml's type numbering and the GGUF specification.
#ifndef INLAY_FORMATS_WEIGHT_TYPE_HPP_
#define INLAY_FORMATS_WEIGHT_TYPE_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Values are GGUF's tensor type ids.
enum class WeightType : std::uint8_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kI8 = 24,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct WeightTypeInfo {
  WeightType type;
  std::string_view name;      // as GGUF tools print it
  std::uint16_t block_values;  // values per block; a row holds whole blocks
  std::uint16_t block_bytes;
  bool multiplies;  // has kernels: may be a weight matrix
};

inline constexpr std::array kWeightTypes = {
    WeightTypeInfo{WeightType::kF32, "F32", 1, 4, true},
    WeightTypeInfo{WeightType::kF16, "F16", 1, 2, true},
    WeightTypeInfo{WeightType::kBF16, "BF16", 1, 2, true},
    WeightTypeInfo{WeightType::kQ8_0, "Q8_0", 32, 34, true},
    WeightTypeInfo{WeightType::kQ4_0, "Q4_0", 32, 18, true},
    WeightTypeInfo{WeightType::kQ4_1, "Q4_1", 32, 20, true},
    WeightTypeInfo{WeightType::kQ5_0, "Q5_0", 32, 22, true},
    WeightTypeInfo{WeightType::kQ5_1, "Q5_1", 32, 24, true},
    WeightTypeInfo{WeightType::kIQ4_NL, "IQ4_NL", 32, 18, true},
    WeightTypeInfo{WeightType::kMXFP4, "MXFP4", 32, 17, true},
    WeightTypeInfo{WeightType::kQ2_K, "Q2_K", 256, 84, true},
    WeightTypeInfo{WeightType::kQ3_K, "Q3_K", 256, 110, true},
    WeightTypeInfo{WeightType::kQ4_K, "Q4_K", 256, 144, true},
    WeightTypeInfo{WeightType::kQ5_K, "Q5_K", 256, 176, true},
    WeightTypeInfo{WeightType::kQ6_K, "Q6_K", 256, 210, true},
    WeightTypeInfo{WeightType::kIQ4_XS, "IQ4_XS", 256, 136, true},
    WeightTypeInfo{WeightType::kTQ1_0, "TQ1_0", 256, 54, true},
    WeightTypeInfo{WeightType::kTQ2_0, "TQ2_0", 256, 66, true},
    WeightTypeInfo{WeightType::kI8, "I8", 1, 1, false},
};

namespace detail {
// Where each id is in kWeightTypes; beyond its end for those that are not. Kernels ask for what they are instantiated with:
// a look-up with a constant disappears when it is compiled, a search does not.
inline constexpr auto kWeightTypePlaces = [] {
  std::array<std::uint8_t, 64> places{};
  places.fill(static_cast<std::uint8_t>(kWeightTypes.size()));
  for (std::size_t i = 0; i < kWeightTypes.size(); ++i) {
    places[static_cast<std::size_t>(kWeightTypes[i].type)] = static_cast<std::uint8_t>(i);
  }
  return places;
}();
}  // namespace detail

// nullptr when the library does not know the type.
constexpr const WeightTypeInfo* FindWeightType(std::uint32_t id) {
  if (id >= detail::kWeightTypePlaces.size()) return nullptr;
  const std::size_t place = detail::kWeightTypePlaces[id];
  return place < kWeightTypes.size() ? &kWeightTypes[place] : nullptr;
}
constexpr const WeightTypeInfo* FindWeightType(std::string_view name) {
  for (const WeightTypeInfo& info : kWeightTypes) {
    if (info.name == name) return &info;
  }
  return nullptr;
}
constexpr const WeightTypeInfo& Info(WeightType type) { return *FindWeightType(static_cast<std::uint32_t>(type)); }
constexpr std::string_view Name(WeightType type) { return Info(type).name; }

// The name of a type that GGUF defines and this library does not read, for messages; empty for others.
constexpr std::string_view NameOfUnreadType(std::uint32_t id) {
  switch (id) {
    case 9: return "Q8_1";
    case 15: return "Q8_K";
    case 16: return "IQ2_XXS";
    case 17: return "IQ2_XS";
    case 18: return "IQ3_XXS";
    case 19: return "IQ1_S";
    case 21: return "IQ3_S";
    case 22: return "IQ2_S";
    case 25: return "I16";
    case 26: return "I32";
    case 27: return "I64";
    case 28: return "F64";
    case 29: return "IQ1_M";
    case 40: return "NVFP4";
    case 41: return "Q1_0";
    case 42: return "Q2_0";
    default: return {};
  }
}

// Bytes of one row of `cols` values in the file's own (row-major, blocked) order; cols is a multiple of block_values.
constexpr std::size_t RowBytes(WeightType type, std::size_t cols) {
  return cols / Info(type).block_values * Info(type).block_bytes;
}

// A closed list of weight types: what a model type is compiled for. Formats<WeightType::kQ4_K, WeightType::kF32>.
template <WeightType... kTypes>
struct Formats {
  static constexpr std::array<WeightType, sizeof...(kTypes)> kList = {kTypes...};
  static constexpr bool Contains(WeightType type) { return ((type == kTypes) || ...); }
};

// Every type that has kernels.
using AllFormats = Formats<WeightType::kF32, WeightType::kF16, WeightType::kBF16, WeightType::kQ8_0, WeightType::kQ4_0,
                           WeightType::kQ4_1, WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kIQ4_NL,
                           WeightType::kMXFP4, WeightType::kQ2_K, WeightType::kQ3_K, WeightType::kQ4_K, WeightType::kQ5_K,
                           WeightType::kQ6_K, WeightType::kIQ4_XS, WeightType::kTQ1_0, WeightType::kTQ2_0>;

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_WEIGHT_TYPE_HPP_
