// The element types of a key/value cache.
#ifndef INLAY_FORMATS_KV_TYPE_HPP_
#define INLAY_FORMATS_KV_TYPE_HPP_

#include <array>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

enum class KvType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8,  // int8 with one float32 scale per position and head
  kQ4,  // 4 bits with one float32 scale per position and head for values, and per 32 elements of those for keys
};

constexpr std::string_view Name(KvType type) {
  switch (type) {
    case KvType::kF32: return "f32";
    case KvType::kF16: return "f16";
    case KvType::kBF16: return "bf16";
    case KvType::kQ8: return "q8";
    case KvType::kQ4: return "q4";
  }
  return "unknown";
}

// Whether keys and values are integers with scales.
constexpr bool IsInteger(KvType type) { return type == KvType::kQ8 || type == KvType::kQ4; }

// A closed list of cache types: what a model type is compiled for. Each costs 20 KiB of code and more (45 to 65 where widths
// of heads are known at run time only) and a second or two of the compiler's time.
template <KvType... kTypes>
struct KvTypes {
  static constexpr std::array<KvType, sizeof...(kTypes)> kList = {kTypes...};
  static constexpr bool Contains(KvType type) { return ((type == kTypes) || ...); }
};

using AllKvTypes = KvTypes<KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4>;
// Half of the memory at no cost in quality that can be measured, and a quarter of it for long contexts.
using CommonKvTypes = KvTypes<KvType::kF16, KvType::kQ8>;

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_KV_TYPE_HPP_
