// The command "pack": a model in the layout that opens without copying.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "commands.hpp"
#include "common.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/host/packed_model_writer.hpp"
#include "inlay/weights/packed_weights.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::ModelFile;
using inlay::Result;

Result<void> Pack(const PackOptions& options) {
  inlay::ThreadPool threads(ThreadCount(options.model.threads));
  inlay::LoadOptions load;
  load.tokenizer_path = options.model.tokenizer.c_str();
  load.verify = options.model.verify;
  load.weights = false;
  Progress packing("packing");
  INLAY_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(options.model.path.c_str(), load, threads, packing));
  // GGUF is packed on its way from file to file; a checkpoint in memory.
  const bool in_pieces = file.gguf() != nullptr && !file.was_packed();
  if (file.gguf() == nullptr) {
    load.weights = true;
    INLAY_ASSIGN_OR_RETURN(file, ModelFile::Open(options.model.path.c_str(), load, threads, packing));
  }
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  Progress writing("writing");
  const std::size_t total = inlay::PackedWeightsBytes(file.config(), file.types());
  std::size_t done = 0;
  const auto sink = [&](std::span<const std::byte> bytes) -> Result<void> {
    while (!bytes.empty()) {
      const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), std::size_t{16} << 20));
      INLAY_CHECK_OK(output.Write(piece));
      bytes = bytes.subspan(piece.size());
      done += piece.size();
      if (!in_pieces && !writing(std::min(done, total), total)) return Fail(ErrorCode::kCancelled, options.output, "interrupted");
    }
    return {};
  };
  const std::string name = std::filesystem::path(options.model.path).stem().string();
  constexpr std::size_t kPieceBytes = std::size_t{64} << 20;
  INLAY_CHECK_OK(in_pieces ? inlay::PackModelFile(file, options.model.verify, kPieceBytes, threads, packing, sink)
                           : inlay::WritePackedModel(file, name, sink));
  return output.Commit();
}

}  // namespace cli
