// Search by meaning: reads a folder of text files into an index, and finds what is closest to a question.
//
//   search index MODEL FOLDER INDEX        search query MODEL INDEX TEXT [RESULTS]
//
// Any model works; one that was trained for embeddings works well.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "chunks.hpp"
#include "common.hpp"
#include "engine.hpp"
#include "index_file.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/host/similarity.hpp"
#include "inlay/text/utf8.hpp"

namespace {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;

// A model that turns text into vectors of length 1.
class Embedder {
 public:
  static Result<Embedder> Open(const char* path) {
    cli::ModelOptions options;
    options.path = path;
    INLAY_ASSIGN_OR_RETURN(cli::Engine engine, cli::Engine::Open(options));
    INLAY_CHECK_OK(engine.tokenizer());
    Embedder embedder(std::move(engine));
    inlay::SessionOptions session;
    session.context = embedder.MostTokens();
    session.batch = session.context;
    INLAY_CHECK_OK(embedder.engine_.StartEvaluation(session));
    return embedder;
  }

  std::size_t dim() const { return engine_.config().dim; }

  Result<std::vector<float>> operator()(std::string_view text) {
    INLAY_ASSIGN_OR_RETURN(std::vector<inlay::TokenId> tokens, engine_.Encode(text));
    if (tokens.size() > MostTokens()) tokens.resize(MostTokens());
    if (tokens.empty()) return Fail(ErrorCode::kInvalidArgument, "text", "has no tokens");
    INLAY_ASSIGN_OR_RETURN(std::vector<float> embedding, engine_.Embed(tokens, engine_.config().pooling));
    inlay::NormalizeLength(embedding);
    return embedding;
  }

 private:
  explicit Embedder(cli::Engine engine) : engine_(std::move(engine)) {}
  std::size_t MostTokens() const { return std::min<std::size_t>(engine_.config().context, 512); }

  cli::Engine engine_;
};

Result<std::vector<std::string>> FilesOf(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> files;
  for (auto at = std::filesystem::recursive_directory_iterator(folder, error); !error && at != std::filesystem::end(at); at.increment(error)) {
    if (at->is_regular_file()) files.push_back(at->path().string());
  }
  if (error) return Fail(ErrorCode::kSystem, folder, "cannot be read: ", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

Result<void> MakeIndex(const char* model, const std::string& folder, const std::string& output) {
  INLAY_ASSIGN_OR_RETURN(Embedder embed, Embedder::Open(model));
  INLAY_ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesOf(folder));
  search::Index index;
  index.dim = embed.dim();
  cli::Progress progress("reading");
  std::size_t done = 0, skipped = 0;
  for (const std::string& path : files) {
    INLAY_ASSIGN_OR_RETURN(const std::string text, cli::ReadTextFile(path));
    // Pictures and programs are not text.
    const bool is_text = text.find('\0') == std::string::npos && inlay::FindInvalidUtf8(text) == text.size();
    skipped += is_text ? 0 : 1;
    if (is_text) {
      for (const std::string_view piece : search::Chunks(text, {})) {
        INLAY_ASSIGN_OR_RETURN(std::vector<float> embedding, embed(piece));
        index.entries.push_back({path, static_cast<std::uint64_t>(piece.data() - text.data()), std::string(piece), std::move(embedding)});
      }
    }
    if (!progress(++done, files.size())) return Fail(ErrorCode::kCancelled, output, "interrupted");
  }
  INLAY_ASSIGN_OR_RETURN(cli::OutputFile file, cli::OutputFile::Create(output));
  INLAY_CHECK_OK(file.Write(search::WriteIndex(index)));
  INLAY_CHECK_OK(file.Commit());
  std::fprintf(stderr, "%zu pieces of %zu files, %zu skipped\n", index.entries.size(), files.size() - skipped, skipped);
  return {};
}

Result<void> Query(const char* model, const char* index_path, std::string_view question, std::size_t results) {
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedFile file, inlay::MappedFile::Open(index_path));
  INLAY_ASSIGN_OR_RETURN(const search::Index index, search::ReadIndex(file.bytes()));
  INLAY_ASSIGN_OR_RETURN(Embedder embed, Embedder::Open(model));
  if (embed.dim() != index.dim) {
    return Fail(ErrorCode::kMismatch, index_path, "has embeddings of ", index.dim, " values, the model makes ", embed.dim(),
                "; make it again with this model");
  }
  INLAY_ASSIGN_OR_RETURN(const std::vector<float> wanted, embed(question));
  std::vector<std::pair<double, std::size_t>> scores;
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    scores.emplace_back(inlay::ScalarProduct(wanted, index.entries[i].embedding), i);
  }
  const std::size_t count = std::min(results, scores.size());
  std::partial_sort(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(count), scores.end(),
                    [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  for (std::size_t i = 0; i < count; ++i) {
    const search::Entry& entry = index.entries[scores[i].second];
    std::string line = entry.text;
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
    }
    std::printf("%.4f\t%s:%llu\t%s\n", scores[i].first, entry.path.c_str(), static_cast<unsigned long long>(entry.offset), line.c_str());
  }
  return cli::FlushOut();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  Result<void> result;
  cli::CatchInterrupts();
  if (command == "index" && argc == 5) {
    result = MakeIndex(argv[2], argv[3], argv[4]);
  } else if (command == "query" && (argc == 5 || argc == 6)) {
    const long results = argc == 6 ? std::strtol(argv[5], nullptr, 10) : 5;
    result = results < 1 ? Result<void>(Fail(ErrorCode::kInvalidArgument, "RESULTS", "must be at least 1"))
                         : Query(argv[2], argv[3], argv[4], static_cast<std::size_t>(results));
  } else {
    std::fputs("usage: search index MODEL FOLDER INDEX\n       search query MODEL INDEX TEXT [RESULTS]\n", stderr);
    return 2;
  }
  if (result) return 0;
  std::fprintf(stderr, "search: %s\n", result.error().Message().c_str());
  return cli::ExitCode(result.error().code);
}
