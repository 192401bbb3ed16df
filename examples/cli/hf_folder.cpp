#include "hf_folder.hpp"

#include <filesystem>

#include "common.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/files/json_reader.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::FailAt;
using inlay::Result;

Result<HfJson> ReadJsonFile(const std::string& path) {
  INLAY_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  // The strict reader says where it is wrong, and holds the depth that the document's destructor would recurse through.
  inlay::JsonReader reader(text);
  for (;;) {
    const Result<inlay::JsonToken> token = reader.Next();
    if (!token) return FailAt(token.error().code, token.error().offset, path, token.error().detail.view());
    if (token->event == inlay::JsonEvent::kEnd) break;
  }
  HfJson json = HfJson::parse(text, nullptr, false);
  if (json.is_discarded()) return Fail(ErrorCode::kBadFile, path, "holds a number or text that cannot be represented");
  return json;
}

Result<HfFolder> HfFolder::Open(const std::string& path) {
  HfFolder folder;
  folder.path_ = path;
  if (!std::filesystem::is_directory(path)) {
    return Fail(ErrorCode::kSystem, path, "is not a folder; a folder with config.json and *.safetensors is converted");
  }
  INLAY_CHECK_OK(folder.ReadConfig());
  INLAY_CHECK_OK(folder.OpenTensors());
  return folder;
}

Result<std::optional<HfJson>> HfFolder::OptionalJson(std::string_view name) const {
  const std::string file = File(name);
  if (!std::filesystem::exists(file)) return std::optional<HfJson>();
  INLAY_ASSIGN_OR_RETURN(HfJson json, ReadJsonFile(file));
  return std::optional<HfJson>(std::move(json));
}

Result<void> HfFolder::ReadConfig() {
  INLAY_ASSIGN_OR_RETURN(config_, ReadJsonFile(File("config.json")));
  const auto names = config_.is_object() ? config_.find("architectures") : config_.end();
  if (names == config_.end() || !names->is_array() || names->empty() || !(*names)[0].is_string()) {
    return Fail(ErrorCode::kMissing, "architectures", "config.json does not name the model's class");
  }
  architecture_ = (*names)[0].get<std::string>();
  const auto text = config_.find("text_config");
  if (text != config_.end() && text->is_object()) {
    // What the part about text does not say holds for it from the whole.
    HfJson whole = config_;
    whole.erase("text_config");
    whole.update(*text);
    config_ = std::move(whole);
  }
  return {};
}

Result<inlay::SafetensorsFile> HfFolder::OpenShard(const std::string& name) {
  shards_.push_back(std::make_unique<Shard>());
  Shard& shard = *shards_.back();
  INLAY_ASSIGN_OR_RETURN(shard.mapping, inlay::MappedFile::Open(File(name).c_str()));
  INLAY_ASSIGN_OR_RETURN(shard.index,
                         inlay::OwnedBuffer::Create(inlay::SafetensorsFile::IndexBytes(shard.mapping.bytes()), "file index"));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(shard.index.bytes()));
  const Result<inlay::SafetensorsFile> file = inlay::SafetensorsFile::Open(shard.mapping.bytes(), arena);
  if (file) return file;
  const inlay::Error& error = file.error();
  return FailAt(error.code, error.offset, name, error.field.view(), ": ", error.detail.view());
}

Result<void> HfFolder::OpenTensors() {
  constexpr std::string_view kIndex = "model.safetensors.index.json";
  INLAY_ASSIGN_OR_RETURN(const std::optional<HfJson> index, OptionalJson(kIndex));
  if (!index) {
    INLAY_ASSIGN_OR_RETURN(const inlay::SafetensorsFile file, OpenShard("model.safetensors"));
    for (std::size_t i = 0; i < file.tensor_count(); ++i) tensors_.emplace(file.tensor(i).name, file.tensor(i));
    return {};
  }
  const auto map = index->is_object() ? index->find("weight_map") : index->end();
  if (map == index->end() || !map->is_object() || map->empty()) {
    return Fail(ErrorCode::kMissing, "weight_map", kIndex, " does not say which file has which tensor");
  }
  std::map<std::string, inlay::SafetensorsFile> files;
  for (const auto& [name, where] : map->items()) {
    if (!where.is_string()) return Fail(ErrorCode::kBadFile, name, kIndex, ": its file must be a string");
    const std::string file_name = where.get<std::string>();
    // A name leads nowhere else: neither up nor down nor to a file of another kind.
    if (file_name.find_first_of("/\\") != std::string::npos || !file_name.ends_with(".safetensors") ||
        file_name.find('\0') != std::string::npos) {
      return Fail(ErrorCode::kBadFile, name, kIndex, ": \"", file_name, "\" is not the name of a safetensors file in the folder");
    }
    auto file = files.find(file_name);
    if (file == files.end()) {
      INLAY_ASSIGN_OR_RETURN(const inlay::SafetensorsFile opened, OpenShard(file_name));
      file = files.emplace(file_name, opened).first;
    }
    const std::optional<inlay::SafetensorsTensor> tensor = file->second.FindTensor(name);
    if (!tensor) return Fail(ErrorCode::kMissing, name, kIndex, " says that it is in ", file_name, ", which has no such tensor");
    tensors_.emplace(name, *tensor);
  }
  for (const auto& [file_name, file] : files) {
    for (std::size_t i = 0; i < file.tensor_count(); ++i) {
      const std::string_view name = file.tensor(i).name;
      const auto listed = map->find(name);
      if (listed != map->end() && listed->get<std::string>() == file_name) continue;
      return Fail(ErrorCode::kMismatch, name, "is in ", file_name, ", where ", kIndex, " does not expect it");
    }
  }
  return {};
}

Result<void> MetadataList::Write(inlay::GgufWriter& writer) const {
  for (const Value& value : values_) INLAY_CHECK_OK(value(writer));
  return {};
}

}  // namespace cli
