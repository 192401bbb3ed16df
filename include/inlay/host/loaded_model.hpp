// A model file bound to a model type, owning everything: from a path to a model in one call.
#ifndef INLAY_HOST_LOADED_MODEL_HPP_
#define INLAY_HOST_LOADED_MODEL_HPP_

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/model/model.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

// ModelType: AnyModel, or a static Model<kConfig, Formats>, for which the file must hold exactly that model. FileType:
// ModelFile, or a PackedModelFile, which makes a smaller program. Movable; sessions refer to model(), so it stays where it is
// while there are any.
template <class ModelType, class FileType = ModelFile>
class LoadedModel {
 public:
  // Errors: those of FileType::Open and of ModelType::Create.
  static Result<LoadedModel> Open(const char* path, const LoadOptions& options, ExecutorRef executor,
                                  PackProgress progress) {
    return Bind(FileType::Open(path, options, executor, progress));
  }
  static Result<LoadedModel> Open(const char* path, const LoadOptions& options, ExecutorRef executor) {
    return Bind(FileType::Open(path, options, executor));
  }
  static Result<LoadedModel> Open(const char* path, ExecutorRef executor) { return Open(path, LoadOptions{}, executor); }
  // A file in memory, which outlives the model: see ModelFile::Open.
  static Result<LoadedModel> Open(std::span<const std::byte> file, const LoadOptions& options, ExecutorRef executor) {
    return Bind(FileType::Open(file, options, executor));
  }

  const ModelType& model() const { return *model_; }
  ModelType& model() { return *model_; }
  const FileType& file() const { return file_; }
  // nullptr where the file has none.
  const Tokenizer* tokenizer() const { return file_.tokenizer(); }

 private:
  LoadedModel() = default;

  static Result<LoadedModel> Bind(Result<FileType> file) {
    LoadedModel loaded;
    INLAY_ASSIGN_OR_RETURN(loaded.file_, std::move(file));
    const ModelConfig& config = loaded.file_.config();
    INLAY_ASSIGN_OR_RETURN(loaded.table_, OwnedBuffer::Create(config.layers * sizeof(LayerWeights), "layer table"));
    const std::span<LayerWeights> table(reinterpret_cast<LayerWeights*>(loaded.table_.bytes().data()), config.layers);
    INLAY_ASSIGN_OR_RETURN(loaded.model_,
                           ModelType::Create(config, loaded.file_.types(), loaded.file_.packed_weights(), table));
    return loaded;
  }

  FileType file_;
  OwnedBuffer table_;
  std::optional<ModelType> model_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_LOADED_MODEL_HPP_
