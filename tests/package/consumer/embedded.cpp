// A model inside the program of a user: found, described to the compiler, and used where it is.
#include <inlay_tiny.hpp>

#include <cstdio>

static_assert(inlay_tiny::kConfig == inlay::kInlayTiny);
static_assert(inlay_tiny::DescribedModel::Plan({}).weights < (3 << 19));

int main() {
  const inlay::SerialExecutor executor;
  const std::span<const std::byte> file = inlay_tiny::File();
  const auto model = inlay::ModelFile::Open(file, {.verify = true}, executor);
  if (!model) return std::puts(model.error().Message().c_str()), 1;
  const std::span<const std::byte> weights = model->packed_weights();
  const bool in_place = model->was_packed() && weights.data() > file.data() &&
                        weights.data() + weights.size() <= file.data() + file.size();
  return in_place && model->tokenizer() != nullptr ? 0 : 2;
}
