plugins {
    kotlin("jvm") version "2.2.20"
    application
}

repositories { mavenCentral() }
dependencies { implementation("com.standardwebhooks:standardwebhooks:1.1.0") }
kotlin { sourceSets.main { kotlin.srcDir(".") } }
application { mainClass = "ReceiverKt" }
