// The fields of ModelConfig as data: name, kind and place of each. Comparing, printing, storing and reading them is a loop
// over this table instead of a list in every place that would forget the next field.
#ifndef INLAY_CONFIG_CONFIG_FIELDS_HPP_
#define INLAY_CONFIG_CONFIG_FIELDS_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

enum class ConfigFieldKind : std::uint8_t { kUnsigned, kFloat, kBool, kEnum, kPattern };

// An enum of configurations: its name, and those of its enumerators in order.
struct ConfigEnum {
  std::string_view name;
  std::span<const std::string_view> enumerators;
};

struct ConfigField {
  std::string_view name;  // "dim", "rope.local_base"
  ConfigFieldKind kind;
  std::uint16_t offset;         // in ModelConfig
  const ConfigEnum* enumeration;  // of kEnum
};

namespace detail {

template <class T>
inline constexpr ConfigEnum kConfigEnum{};
#define INLAY_DETAIL_ENUM(type, ...)                                \
  inline constexpr std::string_view k##type##Names[] = {__VA_ARGS__}; \
  template <>                                                       \
  inline constexpr ConfigEnum kConfigEnum<type>{#type, k##type##Names};
#define INLAY_DETAIL_FAMILY(enumerator, name) #enumerator,
INLAY_DETAIL_ENUM(Architecture, INLAY_ARCHITECTURES(INLAY_DETAIL_FAMILY))
#undef INLAY_DETAIL_FAMILY
INLAY_DETAIL_ENUM(RopeScaling, "kNone", "kLinear", "kFactors", "kYarn", "kLongRope")
INLAY_DETAIL_ENUM(RopeStyle, "kPairs", "kHalves")
INLAY_DETAIL_ENUM(NormKind, "kRms", "kLayer")
INLAY_DETAIL_ENUM(NormPlacement, "kPre", "kPost", "kSandwich", "kResidual")
INLAY_DETAIL_ENUM(QkNorm, "kNone", "kHead", "kWidth", "kUnweighted")
INLAY_DETAIL_ENUM(WindowKind, "kSliding", "kChunked", "kSymmetric")
INLAY_DETAIL_ENUM(Activation, "kSilu", "kGelu", "kGeluErf", "kReluSquared", "kClampedSilu")
INLAY_DETAIL_ENUM(Router, "kSoftmaxOfChosen", "kSoftmaxOfAll", "kSigmoid")
INLAY_DETAIL_ENUM(StateKind, "kNone", "kConvolution", "kDelta", "kSpace")
INLAY_DETAIL_ENUM(Pooling, "kNone", "kMean", "kCls", "kLast", "kRank")
#undef INLAY_DETAIL_ENUM

template <class T>
constexpr ConfigField MakeConfigField(std::string_view name, std::size_t offset) {
  constexpr ConfigFieldKind kKind = std::is_same_v<T, bool>            ? ConfigFieldKind::kBool
                                    : std::is_same_v<T, float>         ? ConfigFieldKind::kFloat
                                    : std::is_same_v<T, LayerPattern>  ? ConfigFieldKind::kPattern
                                    : std::is_same_v<T, std::uint32_t> ? ConfigFieldKind::kUnsigned
                                                                       : ConfigFieldKind::kEnum;
  static_assert(kKind != ConfigFieldKind::kEnum || (sizeof(T) == 1 && !kConfigEnum<T>.enumerators.empty()),
                "an enum of a configuration needs its names above");
  return {name, kKind, static_cast<std::uint16_t>(offset), kKind == ConfigFieldKind::kEnum ? &kConfigEnum<T> : nullptr};
}

}  // namespace detail

static_assert(std::is_standard_layout_v<ModelConfig> && std::is_trivially_copyable_v<ModelConfig>);

inline constexpr ConfigField kConfigFields[] = {
#define INLAY_DETAIL_FIELD(field) \
  detail::MakeConfigField<decltype(ModelConfig{}.field)>(#field, offsetof(ModelConfig, field)),
    INLAY_CONFIG_FIELDS(INLAY_DETAIL_FIELD)
#undef INLAY_DETAIL_FIELD
};

constexpr std::size_t BytesOf(ConfigFieldKind kind) {
  switch (kind) {
    case ConfigFieldKind::kUnsigned:
    case ConfigFieldKind::kFloat: return 4;
    case ConfigFieldKind::kPattern: return sizeof(LayerPattern);
    case ConfigFieldKind::kBool:
    case ConfigFieldKind::kEnum: return 1;
  }
  return 0;
}

// A field of a configuration as its type T: std::uint32_t, float, bool, LayerPattern, or std::uint8_t for an enum.
template <class T>
T GetField(const ModelConfig& config, const ConfigField& field) {
  T value;
  std::memcpy(&value, reinterpret_cast<const char*>(&config) + field.offset, sizeof(T));
  return value;
}
template <class T>
void SetField(ModelConfig& config, const ConfigField& field, const T& value) {
  std::memcpy(reinterpret_cast<char*>(&config) + field.offset, &value, sizeof(T));
}
// The value of a kEnum field by its name in C++, as "kLongRope".
inline std::string_view EnumeratorOf(const ModelConfig& config, const ConfigField& field) {
  return field.enumeration->enumerators[GetField<std::uint8_t>(config, field)];
}

// Whether two configurations have the same value (the same bits) in a field.
inline bool SameField(const ModelConfig& a, const ModelConfig& b, const ConfigField& field) {
  return std::memcmp(reinterpret_cast<const char*>(&a) + field.offset, reinterpret_cast<const char*>(&b) + field.offset,
                     BytesOf(field.kind)) == 0;
}

// Whether a file's model is the one compiled in: kMismatch, naming the first field that differs. The trained context may
// differ, unless there is a table with a row for each of its positions.
inline Result<void> RequireSameModel(const ModelConfig& compiled, const ModelConfig& file) {
  ModelConfig expected = compiled;
  if (!compiled.learned_positions) expected.context = file.context;
  if (expected == file) return {};
  for (const ConfigField& field : kConfigFields) {
    if (SameField(expected, file, field)) continue;
    if (field.kind == ConfigFieldKind::kUnsigned) {
      return Fail(ErrorCode::kMismatch, field.name, "the file has ", GetField<std::uint32_t>(file, field),
                  ", this model type is compiled for ", GetField<std::uint32_t>(expected, field));
    }
    return Fail(ErrorCode::kMismatch, field.name, "differs from what this model type is compiled for");
  }
  return Fail(ErrorCode::kMismatch, "configuration", "differs from what this model type is compiled for");
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_CONFIG_FIELDS_HPP_
