// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Mujo",
    platforms: [.iOS(.v13), .watchOS(.v6), .macOS(.v10_15)],
    products: [.library(name: "Mujo", targets: ["Mujo"])],
    targets: [
        .target(name: "Mujo"),
        .executableTarget(name: "SelfTest", dependencies: ["Mujo"]),
    ]
)
