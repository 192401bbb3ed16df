// The packed model file: a valid GGUF file that opens with zero copy.
//
// It holds the metadata of the file it was made from (tokenizer, hyperparameters), the keys below, and one I8 tensor
// "inlay.weights" of 64-byte alignment: the packed weights buffer. Any GGUF inspector can list it; only inlay runs it.
//   inlay.layout           string   id of the packed layout (kernels/packed_layout.hpp)
//   inlay.tensor_types     u8[]     GGUF type id of each tensor, by tensor number (weights/tensor_roles.hpp)
//   inlay.config.FIELD     of the field's kind: the configuration (config/model_config.hpp), fields that are not at their
//                          default. Layer patterns are u32[]: period, bits
//   inlay.sha256           string   of the tensor's bytes, 64 lower-case hexadecimal digits
#ifndef INLAY_WEIGHTS_PACKED_FILE_HPP_
#define INLAY_WEIGHTS_PACKED_FILE_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/config/config_fields.hpp"
#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/files/sha256.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/packed_weights.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr std::string_view kPackedTensorName = "inlay.weights";
inline constexpr std::string_view kPackedKeyPrefix = "inlay.";

namespace detail {
constexpr std::array<char, 64> HexDigits(const Sha256Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<char, 64> text{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const unsigned byte = static_cast<unsigned>(digest[i]);
    text[2 * i] = kDigits[byte >> 4];
    text[2 * i + 1] = kDigits[byte & 15];
  }
  return text;
}
}  // namespace detail

inline constexpr std::string_view kStoredConfigPrefix = "inlay.config.";

namespace detail {
inline TextBuffer<64> StoredKey(const ConfigField& field) { return TextBuffer<64>(kStoredConfigPrefix, field.name); }

inline bool IsStored(const ModelConfig& config, const ConfigField& field) {
  return !SameField(config, ModelConfig{}, field);
}

inline Result<void> ReadPattern(const GgufValue& value, const ConfigField& field, ModelConfig& config) {
  INLAY_ASSIGN_OR_RETURN(const GgufArray words, value.AsArray(GgufType::kU32));
  LayerPattern pattern;
  if (words.count != 1 + pattern.bits.size()) {
    return FailAt(ErrorCode::kMismatch, value.offset, value.key, "has ", words.count, " words, must have ",
                  1 + pattern.bits.size());
  }
  pattern.period = words.at<std::uint32_t>(0);
  for (std::size_t i = 0; i < pattern.bits.size(); ++i) pattern.bits[i] = words.at<std::uint32_t>(i + 1);
  SetField(config, field, pattern);
  return {};
}
}  // namespace detail

// The configuration that a packed file carries. kUnsupported: a field that this version does not know.
inline Result<ModelConfig> ReadStoredConfig(const GgufFile& file) {
  ModelConfig config;
  std::size_t known = 0, all = 0;
  for (const ConfigField& field : kConfigFields) {
    const std::optional<GgufValue> value = file.Find(detail::StoredKey(field).view());
    if (!value) continue;
    ++known;
    if (field.kind == ConfigFieldKind::kPattern) {
      INLAY_CHECK_OK(detail::ReadPattern(*value, field, config));
    } else {
      INLAY_CHECK_OK(detail::ReadField(*value, field, config));
    }
  }
  for (std::size_t i = 0; i < file.metadata_count(); ++i) all += file.metadata(i).key.starts_with(kStoredConfigPrefix);
  for (std::size_t i = 0; known != all && i < file.metadata_count(); ++i) {
    const GgufValue value = file.metadata(i);
    if (!value.key.starts_with(kStoredConfigPrefix)) continue;
    bool found = false;
    for (const ConfigField& field : kConfigFields) found |= value.key.substr(kStoredConfigPrefix.size()) == field.name;
    if (!found) {
      return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "is not a field of this version's configurations");
    }
  }
  INLAY_CHECK_OK(Validate(config));
  return config;
}

inline std::size_t StoredConfigCount(const ModelConfig& config) {
  std::size_t count = 0;
  for (const ConfigField& field : kConfigFields) count += detail::IsStored(config, field) ? 1 : 0;
  return count;
}
inline Result<void> StoreConfig(const ModelConfig& config, GgufWriter& writer) {
  for (const ConfigField& field : kConfigFields) {
    if (!detail::IsStored(config, field)) continue;
    const TextBuffer<64> key = detail::StoredKey(field);
    switch (field.kind) {
      case ConfigFieldKind::kUnsigned: INLAY_CHECK_OK(writer.Put(key.view(), GetField<std::uint32_t>(config, field))); break;
      case ConfigFieldKind::kFloat: INLAY_CHECK_OK(writer.Put(key.view(), GetField<float>(config, field))); break;
      case ConfigFieldKind::kBool: INLAY_CHECK_OK(writer.Put(key.view(), GetField<bool>(config, field))); break;
      case ConfigFieldKind::kEnum: INLAY_CHECK_OK(writer.Put(key.view(), GetField<std::uint8_t>(config, field))); break;
      case ConfigFieldKind::kPattern: {
        const LayerPattern pattern = GetField<LayerPattern>(config, field);
        std::array<std::uint32_t, 5> words{pattern.period};
        std::copy(pattern.bits.begin(), pattern.bits.end(), words.begin() + 1);
        INLAY_CHECK_OK(writer.PutArray(key.view(), std::span<const std::uint32_t>(words)));
        break;
      }
    }
  }
  return {};
}

// What a packed file holds, as views into it.
class PackedFile {
 public:
  static bool IsPacked(const GgufFile& file) { return file.Find("inlay.layout").has_value(); }

  // Checks everything but the hash. kUnsupported for another layout; kMismatch when sizes contradict the configuration.
  INLAY_COLD static Result<PackedFile> Open(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view layout, file.GetString("inlay.layout"));
    if (layout != kPackedLayoutId) {
      return Fail(ErrorCode::kUnsupported, "inlay.layout", "\"", layout, "\"; this version reads \"", kPackedLayoutId,
                  "\": pack the model again from its original file");
    }
    PackedFile packed;
    INLAY_ASSIGN_OR_RETURN(packed.config_, ReadStoredConfig(file));

    INLAY_ASSIGN_OR_RETURN(const GgufArray types, file.GetArray("inlay.tensor_types", GgufType::kU8));
    if (types.count != TensorCount(packed.config_)) {
      return Fail(ErrorCode::kMismatch, "inlay.tensor_types", types.count, " entries, the configuration needs ",
                  TensorCount(packed.config_), "; a file of another version must be packed again");
    }
    for (std::uint64_t i = 0; i < types.count; ++i) {
      if (FindWeightType(std::uint32_t{types.at<std::uint8_t>(i)}) == nullptr) {
        return Fail(ErrorCode::kUnsupported, "inlay.tensor_types", "type ", types.at<std::uint8_t>(i), " is not known");
      }
    }
    // One byte each, and every value was just found to be an enumerator.
    packed.types_ = {reinterpret_cast<const WeightType*>(types.bytes.data()), static_cast<std::size_t>(types.count)};

    const std::optional<GgufTensor> tensor = file.FindTensor(kPackedTensorName);
    if (!tensor || file.tensor_count() != 1) {
      return Fail(ErrorCode::kMissing, kPackedTensorName, "a packed file holds exactly this one tensor");
    }
    if (tensor->type == nullptr || tensor->type->type != WeightType::kI8) {
      return FailAt(ErrorCode::kMismatch, tensor->offset, kPackedTensorName, "must have type I8");
    }
    packed.weights_ = tensor->data;
    packed.offset_ = tensor->offset;
    INLAY_ASSIGN_OR_RETURN(packed.sha256_, file.GetString("inlay.sha256"));
    return packed;
  }

  const ModelConfig& config() const { return config_; }
  TensorTypes types() const { return types_; }
  std::span<const std::byte> weights() const { return weights_; }

  // Hashes the weights and compares: kBadFile when a bit has changed since the file was written. Cost: one pass over all
  // bytes (about 2 s per GB).
  Result<void> Verify() const {
    const std::array<char, 64> found = detail::HexDigits(Sha256::Of(weights_));
    if (sha256_ == std::string_view(found.data(), found.size())) return {};
    return FailAt(ErrorCode::kBadFile, offset_, kPackedTensorName, "the bytes do not have the SHA-256 in inlay.sha256");
  }

 private:
  ModelConfig config_;
  TensorTypes types_;
  std::span<const std::byte> weights_;
  std::string_view sha256_;
  std::uint64_t offset_ = 0;
};

// Where the metadata of a packed file comes from: `count` values written by `put`. For a GGUF source, CopiedMetadata.
struct MetadataSource {
  std::size_t count = 0;
  FunctionRef<Result<void>(GgufWriter&)> put;
};

// Values of a GGUF file that a packed file takes over: all but the alignment, how the model was split, and keys of our own.
inline bool IsCopied(const GgufValue& value) {
  return value.key != kGgufAlignmentKey && !value.key.starts_with("split.") && !value.key.starts_with(kPackedKeyPrefix);
}
inline std::size_t CopiedMetadataCount(const GgufFile& file) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < file.metadata_count(); ++i) count += IsCopied(file.metadata(i)) ? 1 : 0;
  return count;
}
inline Result<void> CopyMetadata(const GgufFile& file, GgufWriter& writer) {
  for (std::size_t i = 0; i < file.metadata_count(); ++i) {
    const GgufValue value = file.metadata(i);
    if (IsCopied(value)) INLAY_CHECK_OK(writer.Copy(value));
  }
  return {};
}

// Hands all bytes of the packed weights of a model to a sink, in order, and the same ones each time: called twice.
using PackedWeightsSource = FunctionRef<Result<void>(ByteSink)>;

// Writes a packed file: the bytes of `packed` are those that PackWeights makes for `config` and `types`.
inline Result<void> WritePackedFile(const ModelConfig& config, TensorTypes types, PackedWeightsSource packed,
                                    const MetadataSource& metadata, ByteSink sink) {
  Sha256 hash;
  std::size_t hashed = 0;
  const auto count = [&](std::span<const std::byte> bytes) -> Result<void> {
    hash.Update(bytes);
    hashed += bytes.size();
    return {};
  };
  INLAY_CHECK_OK(packed(ByteSink(count)));
  if (hashed != PackedWeightsBytes(config, types)) {
    return Fail(ErrorCode::kInvalidArgument, "packed weights", "size does not match configuration and types");
  }
  GgufTensorEntry tensor;
  tensor.name = kPackedTensorName;
  tensor.type_id = static_cast<std::uint32_t>(WeightType::kI8);
  tensor.dims[0] = hashed;
  tensor.bytes = hashed;
  const std::size_t own_keys = 3 + StoredConfigCount(config);
  INLAY_ASSIGN_OR_RETURN(GgufWriter writer,
                         GgufWriter::Begin(sink, metadata.count + own_keys, std::span(&tensor, 1), kAlignment));
  INLAY_CHECK_OK(metadata.put(writer));
  const std::array<char, 64> digest = detail::HexDigits(hash.Finish());
  INLAY_CHECK_OK(writer.Put("inlay.layout", kPackedLayoutId));
  INLAY_CHECK_OK(writer.PutArray("inlay.tensor_types",
                                 std::span(reinterpret_cast<const std::uint8_t*>(types.data()), types.size())));
  INLAY_CHECK_OK(StoreConfig(config, writer));
  INLAY_CHECK_OK(writer.Put("inlay.sha256", std::string_view(digest.data(), digest.size())));
  INLAY_CHECK_OK(writer.EndMetadata());
  const auto append = [&](std::span<const std::byte> bytes) { return writer.Append(bytes); };
  INLAY_CHECK_OK(packed(ByteSink(append)));
  return writer.Finish();
}
inline Result<void> WritePackedFile(const ModelConfig& config, TensorTypes types, std::span<const std::byte> packed,
                                    const MetadataSource& metadata, ByteSink sink) {
  const auto all = [packed](ByteSink to) { return to(packed); };
  return WritePackedFile(config, types, PackedWeightsSource(all), metadata, sink);
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACKED_FILE_HPP_
