// replay FOLDER [cpu|cuda]: check an exported folder, sample, score. Exit codes: 0 good, 1 a vector is outside its
// tolerance, 2 bad file or argument, 3 the runtime is too old or cannot do it, 4 the operating system.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "flow.hpp"

using namespace lunet_flow;

namespace {

constexpr int samples = 100, turns = 20, calls = 10;
int checks = 0, wrong = 0;

// Numbers of vectors.json, one row after another: `wide` in each of `rows`.
std::vector<double> flat(const nlohmann::json& part, const char* name, std::size_t rows, std::size_t wide) {
    std::vector<double> numbers;
    for (const auto& row : part.at(name)) {
        const auto one = row.is_array() ? row.get<std::vector<double>>() : std::vector<double>{row.get<double>()};
        numbers.insert(numbers.end(), one.begin(), one.end());
    }
    if (rows == 0 || numbers.size() != rows * wide)
        throw Failure(2, "Expected " + std::to_string(rows) + " rows of " + std::to_string(wide) + " numbers in " +
                             name + " of vectors.json; got " + std::to_string(numbers.size()) +
                             " in all. Export again.");
    return numbers;
}

void compare(const char* name, const std::vector<double>& expected, const std::vector<float>& got,
             const std::vector<double>& tolerance, const std::vector<bool>& skipped = {}) {
    const std::size_t wide = expected.size() / tolerance.size();
    double ratio = 0, difference = 0;
    std::size_t worst = 0;
    for (std::size_t i = 0; i < expected.size() && !std::isnan(ratio); ++i) {  // no number is a failure
        const double gap = std::abs(expected[i] - got.at(i)), share = gap / tolerance[i / wide];
        if ((!skipped.empty() && skipped[i / wide]) || share <= ratio) continue;
        ratio = share;
        worst = i / wide;
        difference = gap;
    }
    std::printf("vectors %s: %#.6g of the tolerance", name, ratio);
    if (!(ratio <= 1))
        std::printf("; FAILED: row %zu is off by %#.6g, tolerance %#.6g", worst, difference, tolerance[worst]);
    std::printf("\n");
    ++checks;
    wrong += !(ratio <= 1);
}

void replay(Flow& flow) {
    const auto vectors = flow.vectors();
    const auto &density = vectors.at("density"), &sampling = vectors.at("sampling");
    const auto &tight = density.at("tolerance"), &loose = sampling.at("tolerance");
    const auto floats = [](const std::vector<double>& rows) { return std::vector<float>(rows.begin(), rows.end()); };
    const std::size_t rows = density.at("log_prob").size(), many = sampling.at("log_prob").size();
    const auto x = flat(density, "x", rows, flow.dim), drawn_z = flat(sampling, "z", many, flow.dim);
    const std::vector<bool> clamped = sampling.at("clamped");
    if (clamped.size() != many) throw Failure(2, "Expected sampling.clamped in each row; it is short. Export again.");
    const auto [log_prob, z] = flow.density(floats(x));
    const auto drawn_x = flow.decode(floats(drawn_z));
    const auto [again_log_prob, again_z] = flow.density(drawn_x);
    auto round_trip = flat(tight, "x", rows, 1);
    if (flow.manifest.contains("certificate")) {
        const auto& predicted = flow.manifest["certificate"].at("rows").at("round_trip");
        for (std::size_t row = 0; row < rows; ++row)
            if (predicted.at(row).is_number())
                round_trip[row] = std::min(round_trip[row], 2 * predicted[row].get<double>());
    }
    compare("density z", flat(density, "z", rows, flow.dim), z, flat(tight, "z", rows, 1));
    compare("density log_prob", flat(density, "log_prob", rows, 1), log_prob, flat(tight, "log_prob", rows, 1));
    compare("sampling x", flat(sampling, "x", many, flow.dim), drawn_x, flat(loose, "x", many, 1));
    compare("x -> z -> x", x, flow.decode(z), round_trip);
    compare("z -> x -> z", drawn_z, again_z, flat(loose, "z", many, 1), clamped);
    compare("log_prob of sampled x", flat(sampling, "log_prob", many, 1), again_log_prob,
            flat(loose, "log_prob", many, 1), clamped);
}

void noise(std::uint64_t seed, std::uint64_t row) {
    const Words w = words(seed, row, 0);
    double n[4];
    normal(seed, row, std::span<double>(n));
    std::printf("noise seed %llu, row %llu: %08x %08x %08x %08x; %.9f %.9f %.9f %.9f\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(row), w[0], w[1], w[2], w[3],
                n[0], n[1], n[2], n[3]);
}

void sample(Flow& flow) {
    const auto x = flow.sample(7, samples);
    const auto log_prob = flow.density(x).first;
    double sum = 0;
    for (float one : log_prob) sum += one;
    std::printf("sample seed 7, row 0:");
    for (std::size_t i = 0; i < std::min<std::size_t>(flow.dim, 4); ++i) std::printf(" %#.6g", x[i]);
    std::printf("; %#.6g nats, %#.6g bits/dim\n", log_prob[0], -log_prob[0] / (double(flow.dim) * std::log(2.0)));
    std::printf("sample seed 7, %d rows: mean log_prob %#.6g nats\n", samples, sum / samples);
}

// Milliseconds a call: the median of turns of several calls, as a browser's clock is coarse; two turns warm up.
template <class Call>
double median(Call call) {
    std::vector<double> times;
    for (int turn = -2; turn < turns; ++turn) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) call();
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
        if (turn >= 0) times.push_back(took.count() / calls);
    }
    std::sort(times.begin(), times.end());
    return times[turns / 2];
}

}  // namespace

int main(int argc, char** argv) try {
    const std::string provider = argc > 2 ? argv[2] : "cpu";
    if (argc < 2 || (provider != "cpu" && provider != "cuda")) throw Failure(2, "Usage: replay FOLDER [cpu|cuda]");
    Flow flow(argv[1], provider);
    const auto& model = flow.manifest.at("model");
    std::printf("model %s: %s, %zu dimensions, float32\n", model.at("name").get<std::string>().c_str(),
                model.at("kind").get<std::string>().c_str(), flow.dim);
    std::printf("runtime ONNX Runtime %s, %s\n", OrtGetApiBase()->GetVersionString(), provider.c_str());
    replay(flow);
    noise(7, 0);
    noise(7, 4294967301);
    noise(UINT64_MAX, 1);
    sample(flow);
    const auto x = flow.sample(7, 1);
    std::vector<float> z(flow.dim);
    normal(7, 0, std::span(z));
    std::printf("latency density %.3f ms, ", median([&] { flow.density(x); }));
    std::printf("sampling %.3f ms: medians of %d turns of %d calls, batch 1\n", median([&] { flow.decode(z); }), turns,
                calls);
    if (wrong)
        std::printf("%d of %d vectors are outside their tolerance\n", wrong, checks);
    else
        std::printf("all %d vectors are within their tolerance\n", checks);
    if (std::fflush(stdout) || std::ferror(stdout)) throw Failure(4, "Expected to print; the system refuses.");
    return wrong > 0;
} catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return failure.code;
} catch (const std::bad_alloc&) {
    std::fprintf(stderr, "Expected memory; the system has none left.\n");
    return 4;
} catch (const std::exception& error) {
    std::fprintf(stderr, "Expected a whole exported folder; got: %s. Export again.\n", error.what());
    return 2;
}
