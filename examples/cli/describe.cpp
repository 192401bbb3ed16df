// The command "describe": a C++ header with the model as a type.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "common.hpp"
#include "inlay/config/config_fields.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace cli {

using inlay::ModelConfig;
using inlay::ModelFile;
using inlay::Result;
using inlay::TensorId;
using inlay::WeightType;

namespace {

// A float literal that gives back the same float.
std::string Literal(float value) {
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value);
  std::string text(digits, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}

std::string FieldLiteral(const ModelConfig& c, const inlay::ConfigField& field) {
  switch (field.kind) {
    case inlay::ConfigFieldKind::kUnsigned: return std::to_string(inlay::GetField<std::uint32_t>(c, field));
    case inlay::ConfigFieldKind::kFloat: return Literal(inlay::GetField<float>(c, field));
    case inlay::ConfigFieldKind::kBool: return inlay::GetField<bool>(c, field) ? "true" : "false";
    case inlay::ConfigFieldKind::kEnum:
      return "inlay::" + std::string(field.enumeration->name) + "::" + std::string(inlay::EnumeratorOf(c, field));
    case inlay::ConfigFieldKind::kPattern: {
      const auto pattern = inlay::GetField<inlay::LayerPattern>(c, field);
      std::string bits;
      for (const std::uint32_t word : pattern.bits) bits += (bits.empty() ? "" : ", ") + std::to_string(word);
      return "{.period = " + std::to_string(pattern.period) + ", .bits = {" + bits + "}}";
    }
  }
  return {};
}

// The fields that are not at their default, as designated initialisers; those of a group together.
std::string Initializer(const ModelConfig& c) {
  std::string text, group;
  for (const inlay::ConfigField& field : inlay::kConfigFields) {
    if (field.name != "architecture" && inlay::SameField(c, ModelConfig{}, field)) continue;
    const std::size_t dot = field.name.find('.');
    const std::string of(dot == std::string_view::npos ? std::string_view() : field.name.substr(0, dot));
    const std::string name(dot == std::string_view::npos ? field.name : field.name.substr(dot + 1));
    if (of != group) {
      if (!group.empty()) text += "    },\n";
      if (!of.empty()) text += "    ." + of + " = {\n";
      group = of;
    }
    text += (group.empty() ? "    ." : "        .") + name + " = " + FieldLiteral(c, field) + ",\n";
  }
  return text + (group.empty() ? "" : "    },\n");
}

std::string TypeIdentifier(WeightType type) { return "k" + std::string(inlay::Name(type)); }

bool IsMatrix(const ModelConfig& config, TensorId id) { return inlay::HasRole(config, id) && !inlay::IsVector(id.role); }

// The types of the matrices, the one with most bytes first.
std::vector<WeightType> MatrixTypes(const ModelFile& file) {
  std::array<std::size_t, 256> bytes{};
  for (std::size_t i = 0; i < file.types().size(); ++i) {
    const TensorId id = inlay::TensorAt(i);
    if (!IsMatrix(file.config(), id)) continue;
    const WeightType type = file.types()[i];
    bytes[static_cast<std::size_t>(type)] += inlay::PackedTensorBytes(file.config(), id, type);
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
    if (inlay::IsVector(info.role) || info.role == inlay::TensorRole::kRouter) continue;
    const std::uint32_t layers = inlay::IsLayerRole(info.role) ? config.layers : 1;
    std::string list;
    // Of the layers that have the tensor; in the list the others count as the usual type.
    std::optional<WeightType> first;
    bool uniform = true;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      const bool has = IsMatrix(config, {info.role, layer});
      const WeightType type = has ? file.types()[inlay::TensorIndex({info.role, layer})] : usual;
      if (has && !first) first = type;
      uniform &= !has || type == *first;
      list += (layer == 0 ? "" : layer % 8 == 0 ? ",\n                                    " : ", ") +
              ("Type::" + TypeIdentifier(type));
    }
    if (!first) continue;
    const std::string label = "      case inlay::TensorRole::" + std::string(info.identifier) + ":";
    if (!uniform) {
      text += label + " {\n        constexpr Type kOfLayer[] = {" + list + "};\n        return kOfLayer[id.layer];\n      }\n";
    } else if (*first != usual) {
      text += label + " return Type::" + TypeIdentifier(*first) + ";\n";
    }
  }
  return text + "      default: return Type::" + TypeIdentifier(usual) + ";\n";
}

// The class that reads a vocabulary.
std::string_view AlgorithmOf(inlay::TokenizerModel model) {
  switch (model) {
    case inlay::TokenizerModel::kSentencePieceBpe: return "SentencePieceBpe";
    case inlay::TokenizerModel::kBytePairEncoding: return "BytePairEncoding";
    case inlay::TokenizerModel::kWordPiece: return "WordPiece";
    case inlay::TokenizerModel::kUnigram: return "Unigram";
  }
  return {};
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

// ", inlay::KvTypes<...>" where the library's choice is not taken.
std::string CachesOf(const std::vector<inlay::KvType>& types) {
  std::string list;
  for (const inlay::KvType type : types) {
    std::string name(inlay::Name(type));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    list += (list.empty() ? ", inlay::KvTypes<inlay::KvType::k" : ", inlay::KvType::k") + name;
  }
  return list.empty() ? list : list + ">";
}

// What opens the file once it is packed, and generates text from it. Nothing for a file without a vocabulary.
std::string GeneratorOf(const ModelFile& file) {
  if (file.tokenizer() == nullptr) return {};
  return "\n// What \"inlay pack\" makes of the model is opened with this, and with no more code than it needs.\n"
         "using DescribedFile = inlay::PackedModelFile<inlay::" +
         std::string(AlgorithmOf(file.tokenizer()->model())) +
         ">;\nusing TextGenerator = inlay::TextGenerator<DescribedModel, DescribedFile>;\n";
}

}  // namespace

Result<void> Describe(const DescribeOptions& options) {
  const inlay::SerialExecutor executor;
  INLAY_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::Open(options.path.c_str(), {.weights = false}, executor));
  std::string known;
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    if (*model.config == file.config()) known = "// The same as inlay::" + std::string(model.identifier) + ".\n";
  }
  const bool named = !options.name_space.empty();
  const std::string text =
      "// A model as a type, made by \"inlay describe\".\n#pragma once\n\n#include <inlay/inlay.hpp>\n\n" +
      (named ? "namespace " + options.name_space + " {\n\n" : "") + known + "inline constexpr inlay::ModelConfig kConfig{\n" +
      Initializer(file.config()) + "};\n\n" + FormatsOf(file) + "using DescribedModel = inlay::Model<kConfig, ModelFormats" +
      CachesOf(options.kv) + ">;\n" + GeneratorOf(file) +
      (named ? "\n}  // namespace " + options.name_space + "\n" : "");
  if (options.output.empty()) return WriteOut(text);
  INLAY_ASSIGN_OR_RETURN(OutputFile out, OutputFile::Create(options.output));
  INLAY_CHECK_OK(out.Write(std::as_bytes(std::span(text))));
  return out.Commit();
}

}  // namespace cli
