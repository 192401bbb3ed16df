// Commands that look into files: dequant, inspect.
#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "common.hpp"
#include "inlay/config/config_fields.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::GgufFile;
using inlay::ModelConfig;
using inlay::ModelFile;
using inlay::Result;
using inlay::TensorId;
using inlay::WeightType;
using Json = nlohmann::ordered_json;

namespace {

std::string TypeName(std::uint32_t id) {
  if (const inlay::WeightTypeInfo* info = inlay::FindWeightType(id)) return std::string(info->name);
  const std::string_view name = inlay::NameOfUnreadType(id);
  return name.empty() ? "type " + std::to_string(id) : std::string(name);
}

// --- dequant ---

// Hands out the first rows of a tensor one by one.
using UseRow = inlay::FunctionRef<Result<void>(std::span<const float>)>;

Result<void> ForRows(const inlay::GgufTensor& tensor, std::size_t rows, UseRow use) {
  if (tensor.type == nullptr || !tensor.type->multiplies) {
    return Fail(ErrorCode::kUnsupported, tensor.name, "type ", TypeName(tensor.type_id), " cannot be decoded");
  }
  std::vector<float> values(static_cast<std::size_t>(tensor.cols()));
  const std::size_t row_bytes = inlay::RowBytes(tensor.type->type, values.size());
  for (std::size_t r = 0; r < std::min<std::uint64_t>(rows, tensor.rows()); ++r) {
    inlay::DecodeRow(tensor.type->type, tensor.data.data() + r * row_bytes, values.size(), values.data());
    INLAY_CHECK_OK(use(values));
  }
  return {};
}

Result<void> ForPackedRows(const inlay::PackedFile& file, std::string_view name, std::size_t rows, UseRow use) {
  const ModelConfig& config = file.config();
  const std::optional<TensorId> wanted = inlay::ParseTensorName(config, name);
  if (!wanted) return Fail(ErrorCode::kInvalidArgument, name, "the file has no such tensor");
  const WeightType type = file.types()[inlay::TensorIndex(*wanted)];
  std::size_t at = 0;
  for (std::size_t i = 0; i < inlay::TensorIndex(*wanted); ++i) {
    const TensorId id = inlay::TensorAt(i);
    if (inlay::HasRole(config, id)) at += inlay::PackedTensorBytes(config, id, file.types()[i]);
  }
  const inlay::TensorShape shape = inlay::ShapeOf(config, *wanted);
  const std::size_t bytes = inlay::PackedTensorBytes(config, *wanted, type);
  if (file.weights().size() < at + bytes) return Fail(ErrorCode::kMismatch, name, "lies outside the packed weights");
  const std::byte* data = file.weights().data() + at;
  std::vector<float> values(shape.cols);
  for (std::size_t r = 0; r < std::min(rows, shape.rows * shape.count); ++r) {
    if (inlay::IsVector(wanted->role)) {
      std::copy_n(reinterpret_cast<const float*>(data) + r * shape.cols, shape.cols, values.data());
    } else {
      const std::byte* matrix = data + r / shape.rows * (bytes / shape.count);
      inlay::UnpackRow<inlay::AllFormats>(type, matrix, shape.cols, r % shape.rows, values.data());
    }
    INLAY_CHECK_OK(use(values));
  }
  return {};
}

}  // namespace

Result<void> Dequant(const DequantOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedGguf mapped, inlay::MappedGguf::Open(options.path.c_str()));
  const GgufFile& file = *mapped.file();
  std::string out = "{\"rows\":[";
  bool first = true;
  const auto print = [&](std::span<const float> values) -> Result<void> {
    if (!first) out += ",\n";
    first = false;
    AppendNumbers(out, values);
    INLAY_CHECK_OK(WriteOut(out));
    out.clear();
    return {};
  };
  const std::optional<inlay::GgufTensor> tensor = file.FindTensor(options.tensor);
  if (tensor) {
    INLAY_CHECK_OK(ForRows(*tensor, options.rows, print));
  } else if (inlay::PackedFile::IsPacked(file)) {
    INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(file));
    INLAY_CHECK_OK(ForPackedRows(packed, options.tensor, options.rows, print));
  } else {
    return Fail(ErrorCode::kInvalidArgument, options.tensor, "the file has no such tensor");
  }
  return WriteOut(out + "]}\n");
}

// --- inspect ---

namespace {

// The shortest number that is this float: 1e-05 instead of 9.999999747378752e-06.
double Shortest(float value) {
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value);
  double number = 0;
  std::from_chars(digits, end.ptr, number);
  return number;
}

// "kLongRope" as "long_rope".
std::string WordsOf(std::string_view enumerator) {
  std::string words;
  for (const char c : enumerator.substr(1)) {
    const bool capital = c >= 'A' && c <= 'Z';
    if (capital && !words.empty()) words += '_';
    words += capital ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return words;
}

// The layers of a pattern.
Json LayersJson(const inlay::LayerPattern& pattern, std::size_t layers) {
  Json json = Json::array();
  for (std::size_t l = 0; l < layers; ++l) {
    if (pattern.Has(l)) json.push_back(l);
  }
  return json;
}

// Every field; those of a group in an object of their own.
Json ConfigJson(const ModelConfig& c) {
  Json json;
  for (const inlay::KnownModel& known : inlay::kKnownModels) {
    if (*known.config == c) json["known_as"] = known.name;
  }
  for (const inlay::ConfigField& field : inlay::kConfigFields) {
    const std::size_t dot = field.name.find('.');
    Json& value = dot == std::string_view::npos ? json[field.name]
                                                : json[field.name.substr(0, dot)][field.name.substr(dot + 1)];
    switch (field.kind) {
      case inlay::ConfigFieldKind::kUnsigned: value = inlay::GetField<std::uint32_t>(c, field); break;
      case inlay::ConfigFieldKind::kFloat: value = Shortest(inlay::GetField<float>(c, field)); break;
      case inlay::ConfigFieldKind::kBool: value = inlay::GetField<bool>(c, field); break;
      case inlay::ConfigFieldKind::kEnum: value = WordsOf(inlay::EnumeratorOf(c, field)); break;
      case inlay::ConfigFieldKind::kPattern:
        value = LayersJson(inlay::GetField<inlay::LayerPattern>(c, field), c.layers);
        break;
    }
  }
  json["architecture"] = inlay::Name(c.architecture);
  return json;
}

// In a cache of 16-bit floats, whose other bytes do not depend on its length.
std::size_t KvBytesPerPosition(const ModelConfig& config) {
  constexpr std::size_t kFrom = 4096, kTo = 8192;
  inlay::MemoryCounter from, to;
  const bool counted = inlay::SequenceCache::Create(from, config, inlay::KvType::kF16, kFrom).has_value() &&
                       inlay::SequenceCache::Create(to, config, inlay::KvType::kF16, kTo).has_value();
  return counted ? (to.used() - from.used()) / (kTo - kFrom) : 0;
}

Json ModelJson(const ModelFile& file) {
  const ModelConfig& config = file.config();
  std::size_t parameters = 0;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const TensorId id = inlay::TensorAt(i);
    const inlay::TensorShape shape = inlay::ShapeOf(config, id);
    if (inlay::HasRole(config, id)) parameters += shape.rows * shape.cols * shape.count;
  }
  Json json;
  json["packed"] = file.was_packed();
  json["config"] = ConfigJson(config);
  json["parameters"] = parameters;
  json["packed_bytes"] = inlay::PackedWeightsBytes(config, file.types());
  // Of a float16 cache.
  json["kv_bytes_per_position"] = KvBytesPerPosition(config);
  json["tokenizer"] = file.tokenizer() != nullptr ? Json{{"tokens", file.tokenizer()->size()}} : Json(nullptr);
  if (file.tokenizer() == nullptr) json["tokenizer_error"] = file.tokenizer_error().Message().c_str();
  return json;
}

template <class T>
Json Numbers(const inlay::GgufArray& array) {
  Json json = Json::array();
  for (std::uint64_t i = 0; i < array.count; ++i) json.push_back(array.at<T>(i));
  return json;
}

// Long arrays are counted, not listed.
Json ArrayJson(const inlay::GgufArray& array) {
  using inlay::GgufType;
  if (array.count > 8) return {{"array_of", inlay::Name(array.element)}, {"count", array.count}};
  switch (array.element) {
    case GgufType::kU8: return Numbers<std::uint8_t>(array);
    case GgufType::kI8: return Numbers<std::int8_t>(array);
    case GgufType::kU16: return Numbers<std::uint16_t>(array);
    case GgufType::kI16: return Numbers<std::int16_t>(array);
    case GgufType::kU32: return Numbers<std::uint32_t>(array);
    case GgufType::kI32: return Numbers<std::int32_t>(array);
    case GgufType::kF32: return Numbers<float>(array);
    case GgufType::kBool: return Numbers<bool>(array);
    case GgufType::kU64: return Numbers<std::uint64_t>(array);
    case GgufType::kI64: return Numbers<std::int64_t>(array);
    case GgufType::kF64: return Numbers<double>(array);
    case GgufType::kString: {
      Json json = Json::array();
      for (const std::string_view text : array.strings()) json.push_back(text);
      return json;
    }
    case GgufType::kArray: break;  // refused when the file was opened
  }
  return nullptr;
}

Json ValueJson(const inlay::GgufValue& value) {
  using inlay::GgufType;
  const std::byte* from = value.encoded.data();
  switch (value.type) {
    case GgufType::kBool: return *value.AsBool();
    case GgufType::kString: return *value.AsString();
    case GgufType::kF32:
    case GgufType::kF64: return Shortest(*value.AsFloat());
    case GgufType::kI8: return inlay::detail::LoadAs<std::int8_t>(from);
    case GgufType::kI16: return inlay::detail::LoadAs<std::int16_t>(from);
    case GgufType::kI32: return inlay::detail::LoadAs<std::int32_t>(from);
    case GgufType::kI64: return inlay::detail::LoadAs<std::int64_t>(from);
    case GgufType::kU8:
    case GgufType::kU16:
    case GgufType::kU32:
    case GgufType::kU64: return *value.AsUnsigned();
    case GgufType::kArray: return ArrayJson(*value.AsArray());
  }
  return nullptr;
}

void AddGguf(const GgufFile& file, Json& json) {
  json["version"] = file.version();
  json["alignment"] = file.alignment();
  Json metadata = Json::object();
  for (std::size_t i = 0; i < file.metadata_count(); ++i) {
    const inlay::GgufValue value = file.metadata(i);
    metadata[std::string(value.key)] = ValueJson(value);
  }
  json["metadata"] = std::move(metadata);
  Json tensors = Json::array();
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const inlay::GgufTensor tensor = file.tensor(i);
    // As in the file: the length of a row first.
    const std::vector<std::uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    tensors.push_back({{"name", tensor.name}, {"type", TypeName(tensor.type_id)}, {"dims", dims},
                       {"offset", tensor.offset}, {"bytes", tensor.data.size()}});
  }
  json["tensors"] = std::move(tensors);
}

std::string Dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

// The same facts for people, one per line.
Result<void> PrintForPeople(const Json& json) {
  std::string out;
  for (const auto& [key, value] : json.items()) {
    if (key == "tensors") {
      out += "tensors: " + std::to_string(value.size()) + "\n";
      for (const Json& tensor : value) {
        out += "  " + tensor["name"].get<std::string>() + "  " + tensor["type"].get<std::string>() + " " +
               Dump(tensor["dims"], -1) + "  " + std::to_string(tensor["bytes"].get<std::size_t>()) + " bytes\n";
      }
    } else if (value.is_object()) {
      out += key + ":\n";
      for (const auto& [name, entry] : value.items()) out += "  " + name + ": " + Dump(entry, -1) + "\n";
    } else {
      out += key + ": " + (value.is_string() ? value.get<std::string>() : Dump(value, -1)) + "\n";
    }
  }
  return WriteOut(out);
}

}  // namespace

Result<void> Inspect(const InspectOptions& options) {
  Json json;
  json["file"] = options.path;
  INLAY_ASSIGN_OR_RETURN(inlay::MappedFile mapping, inlay::MappedFile::Open(options.path.c_str()));
  const bool is_gguf = inlay::StartsLikeGguf(mapping.bytes());
  json["format"] = is_gguf ? "GGUF" : "llama2.c";
  json["bytes"] = mapping.bytes().size();
  const inlay::SerialExecutor executor;
  const Result<ModelFile> model = ModelFile::Open(options.path.c_str(), {.weights = false}, executor);
  // A GGUF file of another kind of model can still be looked at.
  if (!model && !is_gguf) return model.error();
  if (model) {
    json.update(ModelJson(*model));
  } else {
    json["not_runnable"] = model.error().Message().c_str();
  }
  if (is_gguf) {
    INLAY_ASSIGN_OR_RETURN(const inlay::MappedGguf mapped, inlay::MappedGguf::Open(std::move(mapping), options.path.c_str()));
    AddGguf(*mapped.file(), json);
  }
  return options.json ? WriteOut(Dump(json, 1) + "\n") : PrintForPeople(json);
}

}  // namespace cli
