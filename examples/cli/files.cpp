// Commands about files: dequant, pack, inspect, describe.
#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/host/packed_model_writer.hpp"
#include "inlay/kernels/pack.hpp"
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

// Configuration, types and tokenizer of a file; no weight is read.
Result<ModelFile> OpenWithoutWeights(const std::string& path) {
  inlay::LoadOptions options;
  options.weights = false;
  const inlay::SerialExecutor executor;
  return ModelFile::Open(path.c_str(), options, executor);
}

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
    if (inlay::HasRole(config, id.role)) at += inlay::PackedTensorBytes(config, id.role, file.types()[i]);
  }
  const inlay::TensorShape shape = inlay::ShapeOf(config, wanted->role);
  const std::size_t bytes = inlay::PackedTensorBytes(config, wanted->role, type);
  if (file.weights().size() < at + bytes) return Fail(ErrorCode::kMismatch, name, "lies outside the packed weights");
  const std::byte* data = file.weights().data() + at;
  std::vector<float> values(shape.cols);
  for (std::size_t r = 0; r < std::min(rows, shape.rows * shape.count); ++r) {
    if (inlay::IsVector(wanted->role)) {
      std::copy_n(reinterpret_cast<const float*>(data), shape.cols, values.data());
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

// --- pack ---

Result<void> Pack(const PackOptions& options) {
  inlay::ThreadPool threads(ThreadCount(options.model.threads));
  inlay::LoadOptions load;
  load.tokenizer_path = options.model.tokenizer.c_str();
  load.verify = options.model.verify;
  Progress packing("packing");
  INLAY_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::Open(options.model.path.c_str(), load, threads, packing));
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  Progress writing("writing");
  const std::size_t total = file.packed_weights().size();
  std::size_t done = 0;
  const auto sink = [&](std::span<const std::byte> bytes) -> Result<void> {
    while (!bytes.empty()) {
      const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), std::size_t{16} << 20));
      INLAY_CHECK_OK(output.Write(piece));
      bytes = bytes.subspan(piece.size());
      done += piece.size();
      if (!writing(std::min(done, total), total)) return Fail(ErrorCode::kCancelled, options.output, "interrupted");
    }
    return {};
  };
  const std::string name = std::filesystem::path(options.model.path).stem().string();
  INLAY_CHECK_OK(inlay::WritePackedModel(file, name, sink));
  return output.Commit();
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

Json ConfigJson(const ModelConfig& c) {
  Json json;
  json["architecture"] = inlay::Name(c.architecture);
  for (const inlay::KnownModel& known : inlay::kKnownModels) {
    if (*known.config == c) json["known_as"] = known.name;
  }
  json["dim"] = c.dim;
  json["layers"] = c.layers;
  json["heads"] = c.heads;
  json["kv_heads"] = c.kv_heads;
  json["head_dim"] = c.head_dim;
  json["ffn_dim"] = c.ffn_dim;
  json["vocab"] = c.vocab;
  json["context"] = c.context;
  json["rope_dim"] = c.rope_dim;
  json["rope_base"] = Shortest(c.rope_base);
  json["rope_scaling"] = c.rope_scaling == inlay::RopeScaling::kNone     ? "none"
                         : c.rope_scaling == inlay::RopeScaling::kLinear ? "linear"
                                                                         : "factors";
  json["rope_scale"] = Shortest(c.rope_scale);
  json["norm_epsilon"] = Shortest(c.norm_epsilon);
  json["tied_embeddings"] = c.tied_embeddings;
  json["window"] = c.window;
  json["experts"] = c.experts;
  json["experts_per_token"] = c.experts_per_token;
  return json;
}

Json ModelJson(const ModelFile& file) {
  const ModelConfig& config = file.config();
  std::size_t parameters = 0;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const inlay::TensorRole role = inlay::TensorAt(i).role;
    const inlay::TensorShape shape = inlay::ShapeOf(config, role);
    if (inlay::HasRole(config, role)) parameters += shape.rows * shape.cols * shape.count;
  }
  Json json;
  json["packed"] = file.was_packed();
  json["config"] = ConfigJson(config);
  json["parameters"] = parameters;
  json["packed_bytes"] = inlay::PackedWeightsBytes(config, file.types());
  // Of a float16 cache.
  json["kv_bytes_per_position"] = 2 * config.layers * config.kv_dim() * sizeof(std::uint16_t);
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
  const Result<ModelFile> model = OpenWithoutWeights(options.path);
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

// --- describe ---

namespace {

// A float literal that gives back the same float.
std::string Literal(float value) {
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value);
  std::string text(digits, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}

std::string Initializer(const ModelConfig& c) {
  std::string text;
  const auto field = [&](std::string_view name, const std::string& value) {
    text += "    ." + std::string(name) + " = " + value + ",\n";
  };
  const auto number = [&](std::string_view name, std::uint32_t value) { field(name, std::to_string(value)); };
  switch (c.architecture) {
    case inlay::Architecture::kLlama: field("architecture", "inlay::Architecture::kLlama"); break;
  }
  number("dim", c.dim);
  number("layers", c.layers);
  number("heads", c.heads);
  number("kv_heads", c.kv_heads);
  number("head_dim", c.head_dim);
  number("ffn_dim", c.ffn_dim);
  number("vocab", c.vocab);
  number("context", c.context);
  number("rope_dim", c.rope_dim);
  field("rope_base", Literal(c.rope_base));
  field("rope_scale", Literal(c.rope_scale));
  switch (c.rope_scaling) {
    case inlay::RopeScaling::kNone: field("rope_scaling", "inlay::RopeScaling::kNone"); break;
    case inlay::RopeScaling::kLinear: field("rope_scaling", "inlay::RopeScaling::kLinear"); break;
    case inlay::RopeScaling::kFactors: field("rope_scaling", "inlay::RopeScaling::kFactors"); break;
  }
  field("norm_epsilon", Literal(c.norm_epsilon));
  field("tied_embeddings", c.tied_embeddings ? "true" : "false");
  number("window", c.window);
  number("experts", c.experts);
  number("experts_per_token", c.experts_per_token);
  return text;
}

std::string TypeIdentifier(WeightType type) { return "k" + std::string(inlay::Name(type)); }

constexpr std::string_view RoleIdentifier(inlay::TensorRole role) {
  switch (role) {
    case inlay::TensorRole::kTokenEmbedding: return "kTokenEmbedding";
    case inlay::TensorRole::kOutputNorm: return "kOutputNorm";
    case inlay::TensorRole::kOutput: return "kOutput";
    case inlay::TensorRole::kRopeFactors: return "kRopeFactors";
    case inlay::TensorRole::kAttentionNorm: return "kAttentionNorm";
    case inlay::TensorRole::kQuery: return "kQuery";
    case inlay::TensorRole::kKey: return "kKey";
    case inlay::TensorRole::kValue: return "kValue";
    case inlay::TensorRole::kAttentionOutput: return "kAttentionOutput";
    case inlay::TensorRole::kFfnNorm: return "kFfnNorm";
    case inlay::TensorRole::kRouter: return "kRouter";
    case inlay::TensorRole::kGate: return "kGate";
    case inlay::TensorRole::kUp: return "kUp";
    case inlay::TensorRole::kDown: return "kDown";
  }
  return {};
}

bool IsMatrix(const ModelConfig& config, inlay::TensorRole role) {
  return inlay::HasRole(config, role) && !inlay::IsVector(role);
}

// The types of the matrices, the one with most bytes first.
std::vector<WeightType> MatrixTypes(const ModelFile& file) {
  std::array<std::size_t, 256> bytes{};
  for (std::size_t i = 0; i < file.types().size(); ++i) {
    const inlay::TensorRole role = inlay::TensorAt(i).role;
    if (!IsMatrix(file.config(), role)) continue;
    const WeightType type = file.types()[i];
    bytes[static_cast<std::size_t>(type)] += inlay::PackedTensorBytes(file.config(), role, type);
  }
  std::vector<WeightType> types;
  for (const inlay::WeightTypeInfo& info : inlay::kWeightTypes) {
    if (bytes[static_cast<std::size_t>(info.type)] != 0) types.push_back(info.type);
  }
  std::stable_sort(types.begin(), types.end(), [&](WeightType a, WeightType b) {
    return bytes[static_cast<std::size_t>(a)] > bytes[static_cast<std::size_t>(b)];
  });
  return types;
}

// The body of a recipe's TypeOf: which type each matrix of the file has.
std::string RecipeCases(const ModelFile& file, WeightType usual) {
  const ModelConfig& config = file.config();
  std::string text;
  for (const inlay::TensorRoleInfo& info : inlay::kTensorRoles) {
    if (!IsMatrix(config, info.role) || info.role == inlay::TensorRole::kRouter) continue;
    const std::uint32_t layers = inlay::IsLayerRole(info.role) ? config.layers : 1;
    std::string list;
    bool uniform = true;
    const WeightType first = file.types()[inlay::TensorIndex({info.role, 0})];
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      const WeightType type = file.types()[inlay::TensorIndex({info.role, layer})];
      uniform &= type == first;
      list += (layer == 0 ? "" : layer % 8 == 0 ? ",\n                                    " : ", ") +
              ("Type::" + TypeIdentifier(type));
    }
    const std::string label = "      case inlay::TensorRole::" + std::string(RoleIdentifier(info.role)) + ":";
    if (!uniform) {
      text += label + " {\n        constexpr Type kOfLayer[] = {" + list + "};\n        return kOfLayer[id.layer];\n      }\n";
    } else if (first != usual) {
      text += label + " return Type::" + TypeIdentifier(first) + ";\n";
    }
  }
  return text + "      default: return Type::" + TypeIdentifier(usual) + ";\n";
}

// A plain list for a file with one type; else a list that also says which tensor has which, so that the size of the model
// is known to the compiler, exactly.
std::string FormatsOf(const ModelFile& file) {
  const std::vector<WeightType> types = MatrixTypes(file);
  std::string list;
  for (const WeightType type : types) list += (list.empty() ? "inlay::WeightType::" : ", inlay::WeightType::") + TypeIdentifier(type);
  list = "inlay::Formats<" + list + ">";
  if (types.size() == 1) return "using ModelFormats = " + list + ";\n";
  return "struct ModelFormats : " + list +
         " {\n  using Type = inlay::WeightType;\n"
         "  static constexpr Type TypeOf(const inlay::ModelConfig&, inlay::TensorId id) {\n    switch (id.role) {\n" +
         RecipeCases(file, types.front()) + "    }\n  }\n};\n";
}

}  // namespace

Result<void> Describe(const DescribeOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const ModelFile file, OpenWithoutWeights(options.path));
  std::string known;
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    if (*model.config == file.config()) known = "// The same as inlay::" + std::string(model.identifier) + ".\n";
  }
  return WriteOut("// A model as a type, made by \"inlay describe\".\n#pragma once\n\n#include <inlay/inlay.hpp>\n\n" + known +
                  "inline constexpr inlay::ModelConfig kConfig{\n" + Initializer(file.config()) + "};\n\n" +
                  FormatsOf(file) + "using DescribedModel = inlay::Model<kConfig, ModelFormats>;\n");
}

}  // namespace cli
